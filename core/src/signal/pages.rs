//! The web pages that come with the server: plain HTML and scripts, complete in themselves.
//!
//! Names of paths are the users' own, so no URL is left for a style sheet: it is put into each
//! page. The two scripts share their session code in the same way, each within a scope of its own,
//! so that other people's pages can include both, as modules or as classic scripts.

const HTML: &str = "text/html; charset=utf-8";
const SCRIPT: &str = "text/javascript; charset=utf-8";

/// A whole page: what all pages begin with, the style sheet, and the page's own part.
macro_rules! page {
    ($file:literal) => {
        concat!(
            include_str!("pages/head.html"),
            "<style>\n",
            include_str!("pages/style.css"),
            "</style>\n",
            include_str!($file)
        )
        .as_bytes()
    };
}

/// A whole script: the session code and the script's own part, in one function scope.
macro_rules! script {
    ($file:literal) => {
        concat!(
            "(() => {\n'use strict';\n\n",
            include_str!("pages/session.js"),
            "\n",
            include_str!($file),
            "\n})();\n"
        )
        .as_bytes()
    };
}

/// A page or a script by its file name, as content type and content.
pub(crate) fn asset(name: &str) -> Option<(&'static str, &'static [u8])> {
    Some(match name {
        "index.html" => (HTML, page!("pages/index.html")),
        "play.html" => (HTML, page!("pages/play.html")),
        "publish.html" => (HTML, page!("pages/publish.html")),
        "reader.js" => (SCRIPT, script!("pages/reader.js")),
        "publisher.js" => (SCRIPT, script!("pages/publisher.js")),
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::asset;

    const ALL: [&str; 5] = [
        "index.html",
        "play.html",
        "publish.html",
        "reader.js",
        "publisher.js",
    ];

    fn text(name: &str) -> &'static str {
        let (_, content) = asset(name).expect("the asset exists");
        std::str::from_utf8(content).expect("assets are UTF-8")
    }

    #[test]
    fn pages_are_whole_documents_with_their_style() {
        for name in ALL.into_iter().filter(|name| name.ends_with(".html")) {
            let page = text(name);
            assert!(page.starts_with("<!doctype html>"), "{name}");
            assert!(page.trim_end().ends_with("</html>"), "{name}");
            for tag in [
                "head", "style", "title", "body", "main", "script", "ul", "form", "select",
            ] {
                let opened = page.matches(&format!("<{tag}>")).count()
                    + page.matches(&format!("<{tag} ")).count();
                assert_eq!(
                    opened,
                    page.matches(&format!("</{tag}>")).count(),
                    "<{tag}> in {name}"
                );
            }
        }
    }

    #[test]
    fn nothing_is_fetched_from_elsewhere() {
        for name in ALL {
            let text = text(name);
            for attribute in ["src=\"", "href=\"", "url(\"", "import '"] {
                for (at, _) in text.match_indices(attribute) {
                    let target = text.get(at + attribute.len()..).unwrap_or_default();
                    let own = ["data:", "/\"", "./reader.js'", "./publisher.js'"];
                    assert!(
                        own.iter().any(|own| target.starts_with(own)),
                        "{name}: {attribute}{:.40}",
                        target
                    );
                }
            }
        }
    }

    #[test]
    fn unknown_names_are_unknown() {
        assert!(asset("style.css").is_none());
        assert!(asset("../pages.rs").is_none());
    }
}
