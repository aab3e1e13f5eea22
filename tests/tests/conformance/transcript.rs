//! What a scenario leaves behind.

use std::fmt::Write as _;

use kvill_tests::web::Reply;

use crate::placeholders::Placeholders;

/// A body that is longer does not stand in the file: pages and scripts have tests of their own.
const SHOWN_LEN_MAX: usize = 4_000;

/// See the module.
#[derive(Debug, Default)]
pub(crate) struct Transcript {
    pub(crate) placeholders: Placeholders,
    /// What is held against the file.
    pub(crate) text: String,
    /// Bodies that are not part of it: the same of all binaries all the same.
    pub(crate) long: Vec<String>,
}

impl Transcript {
    /// A line.
    pub(crate) fn note(&mut self, line: &str) {
        let line = self.placeholders.put_into(line);
        let _ = writeln!(self.text, "{line}");
    }

    /// A line below another.
    fn below(&mut self, line: &str) {
        let _ = writeln!(self.text, "{}", format!("    {line}").trim_end());
    }

    /// A response, whole.
    pub(crate) fn reply(&mut self, reply: &Reply, has_body: bool) {
        let mut head = reply.head.split("\r\n");
        let status = head.next().unwrap_or_default().to_owned();
        self.below(&status);
        let mut has_date = false;
        for line in head {
            let (name, value) = line.split_once(": ").unwrap_or((line, ""));
            self.placeholders.learn_header(name, value);
            let value = match name {
                "date" => {
                    has_date = true;
                    "<date>".to_owned()
                }
                // Numbers in a description vary in length.
                "content-length" if has_body => {
                    assert_eq!(value, reply.body.len().to_string(), "{reply:?}");
                    "<that of the body>".to_owned()
                }
                _ => self.placeholders.put_into(value),
            };
            self.below(&format!("{name}: {value}"));
        }
        assert!(
            has_date || reply.status < 200,
            "a response has a date: {reply:?}"
        );
        if reply.body.is_empty() {
            return;
        }
        self.below("");
        let content_type = reply.header("content-type").unwrap_or_default();
        if matches!(
            content_type,
            "application/sdp" | "application/trickle-ice-sdpfrag"
        ) {
            for line in self.placeholders.put_into_sdp(&reply.body) {
                self.below(&line);
            }
        } else if reply.body.len() > SHOWN_LEN_MAX {
            self.below("(a long one)");
            self.long.push(reply.body.clone());
        } else {
            for line in self.placeholders.put_into(&reply.body).lines() {
                self.below(line);
            }
        }
    }
}
