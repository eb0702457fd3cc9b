//! A source tree, parsed once and reduced to what the checks ask about.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::sync::LazyLock;

use super::visit::{self, Facts};

/// This project's own sources, or those of the folder in `INTEG_TIDY_ROOT`.
pub static TREE: LazyLock<Tree> = LazyLock::new(|| {
    let root = std::env::var_os("INTEG_TIDY_ROOT").unwrap_or_else(|| env!("CARGO_MANIFEST_DIR").into());
    Tree::read(Path::new(&root))
});

/// A module's path from the crate's root: `["cli", "sync"]`; empty for the root itself.
pub type ModulePath = Vec<String>;

pub struct Tree {
    pub root: PathBuf,
    /// The files of `src/`, those of the module tree first.
    pub src: Vec<File>,
    /// The files of `tests/`.
    pub tests: Vec<File>,
    /// Files of `src/` that no `mod` line names.
    pub orphans: Vec<String>,
    pub modules: BTreeMap<ModulePath, Module>,
    /// Methods, associated items, variants and fields by the name of their type.
    pub members: BTreeMap<String, BTreeSet<String>>,
}

pub struct File {
    /// Relative to the root, as in `src/cli/mod.rs`.
    pub path: String,
    pub module: ModulePath,
    /// Whether the whole file is compiled for tests only.
    pub is_test: bool,
    pub text: String,
    pub facts: Facts,
}

#[derive(Default)]
pub struct Module {
    /// The index of its file in [`Tree::src`].
    pub file: usize,
    /// Names defined in it, child modules included.
    pub items: BTreeSet<String>,
    /// Names that a `use` brings in, with their path from the crate's root.
    pub imports: BTreeMap<String, Vec<String>>,
    /// Modules of which everything is brought in.
    pub globs: Vec<ModulePath>,
}

impl File {
    fn read(root: &Path, path: &Path, module: ModulePath, is_test: bool) -> Self {
        let text = std::fs::read_to_string(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
        let parsed = syn::parse_file(&text).unwrap_or_else(|error| {
            panic!("{}:{}: {error}", path.display(), error.span().start().line);
        });
        let facts = visit::facts(&parsed, &module, is_test);
        let path = path.strip_prefix(root).unwrap().to_string_lossy().replace('\\', "/");
        Self { path, module, is_test, text, facts }
    }

    /// Whether the line belongs to a test: all of a test file, and what is under `#[cfg(test)]` elsewhere.
    pub fn is_test_line(&self, line: usize) -> bool {
        self.is_test || self.facts.test_lines.iter().any(|(first, last)| (*first..=*last).contains(&line))
    }

    /// The lines that are compiled into the program, with their numbers.
    pub fn production_lines(&self) -> impl Iterator<Item = (usize, &str)> {
        (1..).zip(self.text.lines()).filter(|(number, _)| !self.is_test_line(*number))
    }
}

impl Tree {
    fn read(root: &Path) -> Self {
        let mut tree = Self {
            root: root.to_owned(),
            src: Vec::new(),
            tests: Vec::new(),
            orphans: Vec::new(),
            modules: BTreeMap::new(),
            members: BTreeMap::new(),
        };
        tree.read_modules();
        let reached: BTreeSet<&str> = tree.src.iter().map(|file| file.path.as_str()).collect();
        for path in rust_files(&root.join("src")) {
            let name = path.strip_prefix(root).unwrap().to_string_lossy().replace('\\', "/");
            if name != "src/main.rs" && !reached.contains(name.as_str()) {
                tree.orphans.push(name);
            }
        }
        let main = root.join("src/main.rs");
        tree.src.push(File::read(root, &main, vec!["main".to_owned()], false));
        for path in rust_files(&root.join("tests")) {
            // Its `main.rs` files are crates of their own; nothing here needs to know their modules.
            tree.tests.push(File::read(root, &path, ModulePath::new(), true));
        }
        tree.index();
        tree
    }

    /// Follows the `mod` lines from `lib.rs` on.
    fn read_modules(&mut self) {
        let mut waiting = vec![(self.root.join("src/lib.rs"), ModulePath::new(), false)];
        while let Some((path, module, is_test)) = waiting.pop() {
            let file = File::read(&self.root, &path, module, is_test);
            let folder = path.parent().unwrap();
            let owns_folder = path.file_name().is_some_and(|name| name == "mod.rs" || name == "lib.rs");
            let children = if owns_folder { folder.to_owned() } else { path.with_extension("") };
            for child in &file.facts.child_files {
                let name = child.module.last().unwrap();
                // An inline module's children are in a folder of its name.
                let inside = child.module[file.module.len()..child.module.len() - 1].iter().collect::<PathBuf>();
                let flat = children.join(&inside).join(format!("{name}.rs"));
                let place = match &child.path {
                    Some(named) => folder.join(named),
                    None if flat.exists() => flat,
                    None => children.join(&inside).join(name).join("mod.rs"),
                };
                waiting.push((place, child.module.clone(), is_test || child.is_test));
            }
            self.src.push(file);
        }
    }

    /// Fills `modules` and `members` from the files' facts.
    fn index(&mut self) {
        for (number, file) in self.src.iter().enumerate() {
            for module in &file.facts.modules {
                self.modules.insert(module.clone(), Module { file: number, ..Module::default() });
            }
        }
        for file in &self.src {
            for (module, name) in &file.facts.items {
                self.modules.get_mut(module).unwrap().items.insert(name.clone());
            }
            for (owner, name) in &file.facts.members {
                self.members.entry(owner.clone()).or_default().insert(name.clone());
            }
        }
        let known: BTreeSet<ModulePath> = self.modules.keys().cloned().collect();
        for file in &self.src {
            for import in &file.facts.imports {
                let Some(path) = absolute(&import.path, &import.module, &known) else { continue };
                let module = self.modules.get_mut(&import.module).unwrap();
                if import.name == "*" {
                    module.globs.push(path);
                } else {
                    module.imports.insert(import.name.clone(), path);
                }
            }
        }
    }

    /// The paths that a file's production code names, from the crate's root, with their lines.
    pub fn paths_of<'t>(&'t self, file: &'t File) -> impl Iterator<Item = (usize, Vec<String>)> + 't {
        let used = file.facts.paths.iter().filter(|used| !used.is_test);
        used.filter_map(|used| Some((used.line, self.absolute(&used.path, &used.module)?)))
    }

    /// A path as written in `module`, from the crate's root; `None` if it leads out of the crate.
    fn absolute(&self, path: &[String], module: &[String]) -> Option<Vec<String>> {
        resolve(path, module, |candidate| self.modules.contains_key(candidate))
    }

    /// The longest beginning of the path that is a module.
    pub fn module_of(&self, path: &[String]) -> ModulePath {
        let mut end = path.len();
        while end > 0 && !self.modules.contains_key(&path[..end]) {
            end -= 1;
        }
        path[..end].to_vec()
    }

    /// The module that defines what the path names, past re-exports.
    pub fn owner(&self, path: &[String]) -> ModulePath {
        let mut path = path.to_vec();
        // Two modules that re-export each other's names would go around forever.
        for _ in 0..8 {
            let module = self.module_of(&path);
            let Some(name) = path.get(module.len()) else { return module };
            let Some(found) = self.modules.get(&module) else { return module };
            if found.items.contains(name) {
                return module;
            }
            let rest = path[module.len() + 1..].to_vec();
            if let Some(import) = found.imports.get(name) {
                path = [import.clone(), rest].concat();
            } else if let Some(glob) = found.globs.iter().find(|glob| self.defines(glob, name)) {
                path = [glob.clone(), vec![name.clone()], rest].concat();
            } else {
                return module;
            }
        }
        self.module_of(&path)
    }

    fn defines(&self, module: &[String], name: &str) -> bool {
        self.modules.get(module).is_some_and(|module| module.items.contains(name) || module.imports.contains_key(name))
    }

    /// Whether the path, from the crate's root, names a module, an item, or a member of a type.
    pub fn exists(&self, path: &[String]) -> bool {
        let module = self.module_of(path);
        let glob_defines = |name: &str| {
            self.modules.get(&module).is_some_and(|found| found.globs.iter().any(|glob| self.defines(glob, name)))
        };
        let is_here = |name: &str| self.defines(&module, name) || glob_defines(name);
        match &path[module.len()..] {
            [] => true,
            [name] => is_here(name),
            [owner, member] => {
                is_here(owner) && self.members.get(owner).is_some_and(|members| members.contains(member))
            }
            _ => false,
        }
    }

    /// The modules right under the root.
    pub fn top_level(&self) -> BTreeSet<&str> {
        let root = &self.modules[&ModulePath::new()];
        let names = self.modules.keys().filter(|path| path.len() == 1).map(|path| path[0].as_str());
        names.filter(|name| root.items.contains(*name)).collect()
    }
}

fn absolute(path: &[String], module: &[String], known: &BTreeSet<ModulePath>) -> Option<Vec<String>> {
    resolve(path, module, |candidate| known.contains(candidate))
}

fn resolve(path: &[String], module: &[String], is_module: impl Fn(&[String]) -> bool) -> Option<Vec<String>> {
    let mut base = module.to_vec();
    match path.first()?.as_str() {
        "crate" => return Some(path[1..].to_vec()),
        "self" => return Some([base, path[1..].to_vec()].concat()),
        "super" => {}
        first => {
            base.push(first.to_owned());
            return is_module(&base).then(|| [base, path[1..].to_vec()].concat());
        }
    }
    let supers = path.iter().take_while(|segment| *segment == "super").count();
    base.truncate(base.len().checked_sub(supers)?);
    Some([base, path[supers..].to_vec()].concat())
}

/// The Rust files under a folder, sorted; what was built or installed there left out.
fn rust_files(folder: &Path) -> Vec<PathBuf> {
    files(folder, "rs")
}

/// The files under a folder with this extension, or without one if it is empty, sorted; what was built or installed there
/// left out.
pub fn files(folder: &Path, extension: &str) -> Vec<PathBuf> {
    let mut found = Vec::new();
    let mut folders = vec![folder.to_owned()];
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(&folder).unwrap() {
            let path = entry.unwrap().path();
            let name = path.file_name().unwrap().to_string_lossy().into_owned();
            if path.is_dir() && !path.is_symlink() {
                if !["target", "node_modules", "venv", "corpus", "artifacts"].contains(&name.as_str()) {
                    folders.push(path);
                }
            } else if path.extension().unwrap_or_default() == extension {
                found.push(path);
            }
        }
    }
    found.sort();
    found
}
