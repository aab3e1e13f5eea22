//! Whatever is wrong with a server or with what is asked for ends in one sentence, which names it and
//! says what to do.

use std::io::{Read, Write};
use std::net::TcpListener;
use std::thread;

use kvill_tests::process::{BINARIES, Kvill};

use super::load;

/// What `kvill-load` says when it ends with an error: one line, which names what it is about.
pub(crate) fn sentence(args: &[&str], about: &str) -> String {
    let output = load(args);
    let said = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(1), "{args:?}: {said}");
    assert!(
        output.stdout.is_empty(),
        "{args:?}: there is nothing to report"
    );
    // Beside the lines of each second.
    let mut lines = said.lines().filter(|line| !line.contains("packets/s"));
    let line = lines.next().unwrap_or_default();
    assert_eq!(lines.next(), None, "{args:?}: {said}");
    let is_whole = line.starts_with("kvill-load: ") && line.contains(about);
    assert!(is_whole, "{args:?}: {said}");
    line.to_owned()
}

/// A server that responds so to whatever it is sent, and closes. `None`: it is silent.
fn server(response: Option<&'static str>) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
    let address = listener.local_addr().expect("a socket that is bound");
    thread::spawn(move || {
        let mut silent = Vec::new();
        for mut client in listener.incoming().map_while(Result::ok) {
            let Some(response) = response else {
                silent.push(client);
                continue;
            };
            thread::spawn(move || {
                let mut request = [0; 16_384];
                // Both fail only for a client that is gone.
                let _ = client.read(&mut request);
                let _ = client.write_all(response.as_bytes());
            });
        }
    });
    format!("http://{address}/live")
}

#[test]
fn whatever_is_no_whip_and_whep_server_is_told_apart() {
    for (response, words) in [
        (Some("SSH-2.0-OpenSSH_9.2\r\n"), &["speak HTTP"][..]),
        (Some(""), &["broke before"]),
        (None, &["in time", "--timeout"]),
        (
            Some("HTTP/1.1 200 OK\r\nContent-Length: 18\r\n\r\n<html>hello</html>"),
            &["200 OK", "no WHIP or WHEP endpoint"],
        ),
        (
            Some("HTTP/1.1 201 Created\r\nContent-Length: 7\r\n\r\nwelcome"),
            &["no SDP: welcome"],
        ),
        (
            Some("HTTP/1.1 201 Created\r\nContent-Length: 5\r\n\r\nv=0\r\n"),
            &["the answer"],
        ),
        (
            Some("HTTP/1.1 403 Forbidden\r\nContent-Length: 8\r\n\r\nread me\n"),
            &["403 Forbidden: read me", "--token"],
        ),
    ] {
        let url = server(response);
        let watched = format!("{url}/whep");
        // Who is silent is waited for, and anybody else may be slow.
        let seconds = if response.is_none() { "0.3" } else { "10" };
        let patience = ["--timeout", seconds, "--viewers", "3"];
        for (args, end) in [
            (&[url.as_str()][..], "whip"),
            (&["--whep", &watched], "whep"),
        ] {
            let args = [args, &patience].concat();
            let said = sentence(&args, &format!("POST {url}/{end}"));
            let has = |word: &&str| said.contains(*word);
            assert!(words.iter().all(has), "{words:?}: {said}");
        }
    }
}

#[test]
fn what_cannot_be_done_is_said_with_what_can() {
    let kvill = Kvill::of_binary(BINARIES[0], &[]);
    let url = kvill.url();
    let nobody = format!("{url}/nobody/whep");
    let page = format!("{url}/live/publish");
    let encrypted = format!("https{}/live", url.trim_start_matches("http"));
    // Too long for a name, so nobody has to be asked for its address.
    let nowhere = format!("http://{}/live", "x".repeat(70));
    let film = super::Kept::new("other.ivf");
    std::fs::write(film.name(), super::film::ivf().0).expect("a folder for temporary files");
    for (args, words) in [
        (
            &["--whep", &nobody][..],
            &["404", &nobody, "publishing there"][..],
        ),
        (&["--whip", &page, "--viewers", "0"], &[&page, "endpoint"]),
        (&[&encrypted], &[&encrypted, "does it take http?"]),
        (
            &["http://127.0.0.1:1/live"],
            &["http://127.0.0.1:1/live/whip", "nobody listens"],
        ),
        (&[&nowhere], &[&nowhere, "no address", "name right"]),
        (&["127.0.0.1:8889/live"], &["whole URL"]),
        (
            &["http://127.0.0.1:1/live", "--loss", "200"],
            &["--loss", "0 to 100"],
        ),
        (
            &["http://127.0.0.1:1/live", "--file", "no-such.ivf"],
            &["no-such.ivf"],
        ),
        (
            &[
                "http://127.0.0.1:1/live",
                "--file",
                film.name(),
                "--codec",
                "h264",
            ],
            &["--codec", "VP8"],
        ),
        (&["--whip", "http://127.0.0.1:1/x"], &["--whep"]),
        (
            &["http://127.0.0.1:1/live?key=1"],
            &["live?key=1", "query", "--whip and --whep"],
        ),
        (
            &[
                "http://127.0.0.1:1/a",
                "--whip",
                "http://127.0.0.1:1/b",
                "--publishers",
                "0",
            ],
            &["--publishers 0", "--whip"],
        ),
        (
            &[
                "http://127.0.0.1:1/a",
                "--whip",
                "http://127.0.0.1:1/b",
                "--publishers",
                "2",
            ],
            &["--publishers 2", "--whip"],
        ),
    ] {
        let said = sentence(args, "");
        let has = |word: &&str| said.contains(*word);
        assert!(words.iter().all(has), "{words:?}: {said}");
    }
    kvill.stop();
}
