//! The compiled-in page: no build step, no framework, no external resources.

/// A file of the page.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Asset {
    /// Its path.
    pub(super) path: &'static str,
    /// Its media type.
    pub(super) kind: &'static str,
    /// Its content.
    pub(super) body: &'static str,
    /// Whether it is the same for every peer, and so is served without a token.
    pub(super) is_public: bool,
}

/// The file with that path.
pub(super) fn find(path: &str) -> Option<&'static Asset> {
    ASSETS.iter().find(|asset| asset.path == path)
}

static ASSETS: [Asset; 5] = [
    Asset {
        path: "/",
        kind: "text/html; charset=utf-8",
        body: include_str!("page/index.html"),
        is_public: false,
    },
    Asset {
        path: "/app.js",
        kind: "text/javascript; charset=utf-8",
        body: include_str!("page/app.js"),
        is_public: true,
    },
    Asset {
        path: "/style.css",
        kind: "text/css; charset=utf-8",
        body: include_str!("page/style.css"),
        is_public: true,
    },
    Asset {
        path: "/icon.svg",
        kind: "image/svg+xml",
        body: include_str!("page/icon.svg"),
        is_public: true,
    },
    // Browsers request this one by themselves, also after an answer that is no page.
    Asset {
        path: "/favicon.ico",
        kind: "image/svg+xml",
        body: include_str!("page/icon.svg"),
        is_public: true,
    },
];

#[cfg(test)]
mod tests {
    use super::ASSETS;

    #[test]
    fn it_is_small_and_needs_nobody() {
        let bytes: usize = ASSETS.iter().map(|asset| asset.body.len()).sum();
        assert!(bytes < 60_000, "{bytes} bytes");
        for asset in &ASSETS {
            let elsewhere = asset.body.replace("http://www.w3.org/", "");
            assert!(
                !elsewhere.contains("http://") && !elsewhere.contains("https://"),
                "{} fetches something",
                asset.path
            );
            for markup in
                ["innerHTML", "outerHTML", "insertAdjacentHTML", "document.write", "eval("]
            {
                assert!(
                    !asset.body.contains(markup),
                    "{}: {markup} would make markup of what strangers say",
                    asset.path
                );
            }
        }
    }
}
