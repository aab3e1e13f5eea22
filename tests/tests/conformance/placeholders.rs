//! What differs from run to run, and what stands for it in a transcript: `<ufrag 2>` for the second
//! user fragment that was heard of, wherever it is said again.

/// The values heard of so far, and what stands for each.
#[derive(Debug, Default)]
pub(crate) struct Placeholders {
    known: Vec<(String, String)>,
}

impl Placeholders {
    /// Hears of a value.
    pub(crate) fn learn(&mut self, kind: &str, value: &str) {
        if value.is_empty() || self.known.iter().any(|(known, _)| known == value) {
            return;
        }
        let start = format!("<{kind} ");
        let of_kind = self.known.iter().filter(|(_, p)| p.starts_with(&start));
        let placeholder = format!("{start}{}>", of_kind.count() + 1);
        self.known.push((value.to_owned(), placeholder));
    }

    /// A text with everything replaced that was heard of.
    pub(crate) fn put_into(&self, text: &str) -> String {
        let replace = |text: String, (value, placeholder): &(String, String)| {
            text.replace(value.as_str(), placeholder)
        };
        self.known.iter().fold(text.to_owned(), replace)
    }

    /// Hears of what a header says that is random.
    pub(crate) fn learn_header(&mut self, name: &str, value: &str) {
        match name {
            "location" if ["/whip/", "/whep/"].iter().any(|e| value.contains(e)) => {
                let secret = value.rsplit('/').next().unwrap_or_default();
                self.learn("secret", secret.split('?').next().unwrap_or_default());
            }
            "id" => self.learn("session", value),
            "etag" => self.learn("ufrag", value.trim_matches('"')),
            _ => {}
        }
    }

    /// SDP, or a fragment of it, line by line.
    pub(crate) fn put_into_sdp(&mut self, sdp: &str) -> Vec<String> {
        let mids: Vec<_> = sdp
            .lines()
            .filter_map(|line| line.strip_prefix("a=mid:"))
            .collect();
        // Short, and chosen by the client: not to be looked for in the whole text.
        let mid = |mid: &str| match mids.iter().position(|known| *known == mid) {
            Some(place) => format!("<mid {}>", place + 1),
            None => mid.to_owned(),
        };
        let parts = |line| {
            let (key, value) = str::split_once(line, [':', ' ']).unwrap_or((line, ""));
            (key, value.split(' ').collect::<Vec<_>>())
        };
        for (key, words) in sdp.lines().map(parts) {
            match (key, &words[..]) {
                ("o=-", [id, ..]) => self.learn("number", id),
                ("a=ice-ufrag", [ufrag]) => self.learn("ufrag", ufrag),
                ("a=ice-pwd", [password]) => self.learn("password", password),
                ("a=fingerprint", [_, digits]) => self.learn("fingerprint", digits),
                ("a=candidate", [.., ip, port, "typ", "host"]) => {
                    self.learn("udp", &format!("{ip} {port}"));
                    self.learn("udp", &format!("{ip}:{port}"));
                }
                ("a=ssrc", [ssrc, rest @ ..]) => {
                    self.learn("ssrc", ssrc);
                    if let Some(cname) = rest.first().and_then(|r| r.strip_prefix("cname:")) {
                        self.learn("cname", cname);
                    }
                }
                ("a=ssrc-group", [_, ssrcs @ ..]) => {
                    ssrcs.iter().for_each(|ssrc| self.learn("ssrc", ssrc));
                }
                _ => {}
            }
        }
        let line = |line| {
            let (key, words) = parts(line);
            match (key, &words[..]) {
                ("a=mid", [name]) => format!("a=mid:{}", mid(name)),
                ("a=group", [group, names @ ..]) => {
                    let names: Vec<_> = names.iter().map(|name| mid(name)).collect();
                    format!("a=group:{group} {}", names.join(" "))
                }
                _ => self.put_into(line),
            }
        };
        sdp.lines().map(line).collect()
    }
}
