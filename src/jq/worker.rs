//! A separate process for expressions that may not end: jq can recurse until the stack is exhausted, fill the memory
//! and run forever, and only a process can be stopped.
//!
//! The worker is the same program, started with [`WORKER_ARGUMENT`] and an empty environment. It reads JSON, one text a line: the
//! expression first, then documents. To each document it answers with its results, one a line behind `=`, and ends with a
//! line `.`, with `!` and why it failed, or with `#` where they are too large.

use std::io::{self, BufRead, BufReader, BufWriter, Write};
use std::process::{Child, ChildStdin, ChildStdout, Stdio};
use std::sync::mpsc::{RecvTimeoutError, channel};
use std::time::Duration;

use rustix::process::{Resource, Rlimit, setrlimit};

use super::{Compiled, JqError, MAX_EXPRESSION_BYTES, MOST_OUTPUT, STACK};

/// The only argument of the process that evaluates; no command has this name.
pub(crate) const WORKER_ARGUMENT: &str = "__jq";

/// How long the worker may think about one document.
const LIMIT: Duration = Duration::from_secs(5);

/// What its memory may grow to, its stack included.
const MOST_MEMORY: u64 = 1 << 30;

/// How a worker ends after its time limit.
const OUT_OF_TIME: i32 = 3;

/// A worker that waits for a document.
pub(super) struct WorkerProcess {
    child: Child,
    stdin: BufWriter<ChildStdin>,
    stdout: BufReader<ChildStdout>,
}

impl WorkerProcess {
    pub(super) fn start(expression: &str) -> Result<Self, JqError> {
        let failed = |source: io::Error| JqError::WorkerStart { source };
        let mut command = crate::program::command(crate::program::own_program().map_err(failed)?);
        command.arg(WORKER_ARGUMENT).env_clear().current_dir("/");
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::null());
        // A Ctrl-C at the terminal is not its affair: it ends when its stdin does.
        #[cfg(unix)]
        std::os::unix::process::CommandExt::process_group(&mut command, 0);
        let mut child = command.spawn().map_err(failed)?;
        let pipes = child.stdin.take().zip(child.stdout.take());
        let (stdin, stdout) = pipes.ok_or_else(|| failed(io::ErrorKind::BrokenPipe.into()))?;
        let mut worker = Self { child, stdin: BufWriter::new(stdin), stdout: BufReader::new(stdout) };
        let text = serde_json::Value::from(expression).to_string();
        // One that has ended already is noticed when it does not answer.
        let _ = writeln!(worker.stdin, "{text}");
        Ok(worker)
    }

    /// The results of a document; its JSON is on one line.
    pub(super) fn results(&mut self, document: &str) -> Result<Vec<String>, JqError> {
        let _ = writeln!(self.stdin, "{document}").and_then(|()| self.stdin.flush());
        let mut results = Vec::new();
        loop {
            let mut line = String::new();
            let read = self.stdout.read_line(&mut line).unwrap_or(0);
            let line = line.strip_suffix('\n').unwrap_or(&line);
            match line.split_at_checked(1) {
                Some(("=", result)) if read > 0 => results.push(result.to_owned()),
                Some((".", _)) => return Ok(results),
                Some(("#", _)) => return Err(JqError::OutputTooLarge { mebibytes: MOST_OUTPUT >> 20 }),
                Some(("!", why)) => return Err(JqError::Failed(why.to_owned())),
                _ => return Err(self.why_it_ended()),
            }
        }
    }

    fn why_it_ended(&mut self) -> JqError {
        let _ = self.child.kill();
        match self.child.wait().ok().and_then(|status| status.code()) {
            Some(OUT_OF_TIME) => JqError::Timeout { seconds: LIMIT.as_secs() },
            _ => JqError::OutOfMemory { mebibytes: MOST_MEMORY >> 20 },
        }
    }
}

impl Drop for WorkerProcess {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// What the process that is started with [`WORKER_ARGUMENT`] does until its stdin ends.
pub(crate) fn serve() {
    for (resource, most) in [(Resource::As, MOST_MEMORY), (Resource::Core, 0)] {
        let limit = Rlimit { current: Some(most), maximum: Some(most) };
        if setrlimit(resource, limit).is_err() {
            return;
        }
    }
    // jaq recurses: it is given a stack that fits ordinary depths by far.
    let thread = std::thread::Builder::new().stack_size(STACK);
    let _ = thread.spawn(|| answer(io::stdin().lock(), io::stdout().lock())).map(std::thread::JoinHandle::join);
}

fn answer(mut input: impl BufRead, out: impl Write) -> io::Result<()> {
    let mut line = String::new();
    input.read_line(&mut line)?;
    let expression: String = serde_json::from_str(&line)?;
    let (start, started) = channel::<bool>();
    std::thread::spawn(move || watch(&started));
    let working = |works: bool| start.send(works).is_ok();
    working(true);
    let compiled = Compiled::new(&expression);
    let mut out = BufWriter::new(out);
    let mut document = String::new();
    loop {
        working(false);
        document.clear();
        if input.read_line(&mut document)? == 0 {
            return Ok(());
        }
        working(true);
        let results = match &compiled {
            Ok(compiled) => compiled.each(&document, |result| writeln!(out, "={result}").is_ok()),
            Err(error) => Err(JqError::Failed(error.to_string())),
        };
        match results {
            Ok(()) => writeln!(out, ".")?,
            Err(JqError::Failed(why)) => writeln!(out, "!{}", why.replace('\n', " "))?,
            Err(_) => writeln!(out, "#")?,
        }
        out.flush()?;
    }
}

/// Ends the process when it works on one document for too long.
fn watch(started: &std::sync::mpsc::Receiver<bool>) {
    let mut works = false;
    loop {
        let next = if works {
            started.recv_timeout(LIMIT)
        } else {
            started.recv().map_err(|_| RecvTimeoutError::Disconnected)
        };
        match next {
            Ok(now) => works = now,
            #[expect(clippy::exit, reason = "nothing else ends an expression that does not end")]
            Err(RecvTimeoutError::Timeout) => std::process::exit(OUT_OF_TIME),
            Err(RecvTimeoutError::Disconnected) => return,
        }
    }
}

/// The longest text is short enough for the stack that it is parsed on.
const _: () = assert!(STACK / MAX_EXPRESSION_BYTES >= 32 << 10);
