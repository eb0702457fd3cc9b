//! Finds the command lines of a document, and what they print.

/// How a block is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Command lines.
    Shell,
    /// Command lines after `$`, each with what it prints.
    Console,
}

/// A block of command lines.
#[derive(Debug)]
pub struct Block {
    pub kind: Kind,
    pub steps: Vec<Step>,
}

/// A command line, for a shell.
#[derive(Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Step {
    pub line: String,
    /// `# exit 6` says another one than 0.
    pub code: i32,
    /// Lines of stdout; nothing is expected where there are none.
    pub shown: Vec<String>,
}

/// The sections of a Markdown document under headings of the second level, with their titles.
pub fn sections(markdown: &str) -> Vec<(String, String)> {
    let titled = |part: &str| {
        let (title, text) = part.split_once('\n').unwrap();
        (title.to_owned(), text.to_owned())
    };
    format!("\n{markdown}").split("\n## ").skip(1).map(titled).collect()
}

/// The `sh` and `console` blocks of a Markdown document.
pub fn of_markdown(markdown: &str) -> Vec<Block> {
    let fenced = markdown.split("```").skip(1).step_by(2);
    let block = |text: &str| {
        let (language, text) = text.split_once('\n')?;
        match language {
            "sh" => Some(Block { kind: Kind::Shell, steps: shell(text.lines()) }),
            "console" => Some(Block { kind: Kind::Console, steps: console(text) }),
            _ => None,
        }
    };
    fenced.filter_map(block).collect()
}

/// The connector files in a Markdown document, with their ids: `toml` blocks that begin with one.
pub fn connectors(markdown: &str) -> Vec<(String, String)> {
    let whole = |text: &str| {
        let toml = text.strip_prefix("toml\n")?;
        let id = toml.strip_prefix("id = \"")?.split('"').next()?;
        Some((id.to_owned(), toml.to_owned()))
    };
    markdown.split("```").skip(1).step_by(2).filter_map(whole).collect()
}

/// The indented lines of a topic that are commands.
pub fn of_topic(text: &str) -> Vec<Block> {
    let lines = text.lines().filter_map(|line| line.strip_prefix("    "));
    let steps = shell(lines).into_iter().filter(|step| !commands(&step.line).is_empty()).collect();
    vec![Block { kind: Kind::Shell, steps }]
}

/// The lines under `Examples:` of a help page.
pub fn of_examples(help: &str) -> Block {
    let lines = help.split_once("Examples:\n").map_or("", |(_, rest)| rest).lines();
    let lines = lines.take_while(|line| line.starts_with("  ")).map(|line| &line[2..]);
    Block { kind: Kind::Shell, steps: shell(lines) }
}

fn shell<'l>(lines: impl Iterator<Item = &'l str>) -> Vec<Step> {
    lines.map(Step::of).filter(|step| !step.line.is_empty()).collect()
}

fn console(text: &str) -> Vec<Step> {
    let mut steps: Vec<Step> = Vec::new();
    for line in text.lines() {
        match (line.strip_prefix("$ "), steps.last_mut()) {
            (Some(command), _) => {
                steps.push(Step::of(command));
            }
            (None, Some(step)) => step.shown.push(line.to_owned()),
            (None, None) => panic!("a console block begins with {line:?}"),
        }
    }
    steps
}

impl Step {
    fn of(text: &str) -> Self {
        let line = without_comment(text);
        let code = text[line.len()..].split_once("# exit ").and_then(|(_, code)| code.split(' ').next()?.parse().ok());
        Self { line: line.to_owned(), code: code.unwrap_or(0), shown: Vec::new() }
    }
}

/// A comment begins at a `#` after a space, outside quotes.
fn without_comment(line: &str) -> &str {
    let mut quote = None;
    let mut before = ' ';
    for (at, letter) in line.char_indices() {
        match (quote, letter) {
            (None, '#') if before == ' ' => return line[..at].trim_end(),
            (None, '\'' | '"') => quote = Some(letter),
            (Some(open), letter) if open == letter => quote = None,
            _ => {}
        }
        before = letter;
    }
    line.trim_end()
}

/// The words of each `integ` command of a shell's line, without redirections. What a shell runs inside quotes is not looked
/// at.
pub fn commands(line: &str) -> Vec<Vec<String>> {
    let Some(words) = shlex::split(line) else { return Vec::new() };
    let mut found: Vec<Vec<String>> = Vec::new();
    for part in words.split(|word| ["|", "&&", ";", "||"].contains(&word.as_str())) {
        let mut words = part.iter().skip_while(|word| word.contains('=')).cloned().peekable();
        if words.peek().is_none_or(|first| first != "integ") {
            continue;
        }
        let mut command = Vec::new();
        while let Some(word) = words.next() {
            match word.as_str() {
                ">" | "<" | ">>" => drop(words.next()),
                _ => command.push(word),
            }
        }
        found.push(command);
    }
    found
}

/// Whether the words are those of a command, which flags of integ's own may part.
pub fn is_of(words: &[String], command: &str) -> bool {
    let mut rest = words.iter();
    command.split(' ').all(|word| rest.any(|other| other == word))
}

#[test]
fn lines_are_commands_without_comments_and_redirections() {
    assert_eq!(without_comment("integ status   # now"), "integ status");
    assert_eq!(without_comment("integ x --jq '.a # b' # c"), "integ x --jq '.a # b'");
    assert_eq!(commands("A=b integ man | man -l -"), [["integ", "man"]]);
    assert_eq!(commands("integ records x > f && integ y"), [vec!["integ", "records", "x"], vec!["integ", "y"]]);
    assert!(commands("age -d x").is_empty());
    let blocks = of_markdown("a\n```console\n$ integ x\n1\n2\n$ integ y  # z\n```\n```toml\na = 1\n```\n");
    assert_eq!(blocks.len(), 1);
    assert_eq!(blocks[0].steps[0].shown, ["1", "2"]);
    assert_eq!(blocks[0].steps[1], Step { line: "integ y".to_owned(), code: 0, shown: Vec::new() });
    assert_eq!(Step::of("integ test  # exit 6 if not").code, 6);
    assert_eq!(of_examples("Examples:\n  integ a  # b\n  integ c\n\nSee also: `integ d`").steps.len(), 2);
    assert_eq!(sections("# a\n\n## b\nc\n## d\n"), [("b".to_owned(), "c".to_owned()), ("d".to_owned(), String::new())]);
}
