//! How this program talks to itself as a server: a line of JSON each way, by stdin and stdout.

use std::io::{self, BufRead, BufReader, Write};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};

use serde_json::{Value, json};

/// What makes this program a server.
pub(super) const SERVE: &str = "--serve";

/// This program, serving.
pub(super) struct Served {
    child: Child,
    stdin: ChildStdin,
    stdout: BufReader<ChildStdout>,
}

impl Served {
    pub(super) fn start(kind: &str) -> Self {
        let program = std::env::current_exe().expect("a program knows its own file");
        let mut command = Command::new(program);
        command.args([SERVE, kind]);
        command.stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut child = command.spawn().expect("this program once more");
        let stdin = child.stdin.take().expect("stdin is piped");
        let stdout = child.stdout.take().expect("stdout is piped");
        Self {
            child,
            stdin,
            stdout: BufReader::new(stdout),
        }
    }

    pub(super) fn id(&self) -> u32 {
        self.child.id()
    }

    /// Asks, and waits for the answer.
    pub(super) fn ask(&mut self, what: &str, body: &str) -> String {
        let asked = writeln!(self.stdin, "{}", json!([what, body]));
        asked.expect("a server that runs");
        let mut line = String::new();
        self.stdout.read_line(&mut line).expect("text");
        let answer: Value = serde_json::from_str(&line).expect("an answer in JSON");
        let answer = answer.as_str().expect("an answer that is text");
        answer.to_owned()
    }
}

impl Drop for Served {
    fn drop(&mut self) {
        // Both fail only for one that has ended.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// The server's side: what is asked, until nobody asks any more.
pub(super) fn questions() -> impl Iterator<Item = (String, String)> {
    let lines = io::stdin().lines().map_while(Result::ok);
    lines.filter_map(|line| serde_json::from_str(&line).ok())
}

/// The server's side: an answer.
pub(super) fn answer(text: &str) {
    println!("{}", Value::from(text));
}
