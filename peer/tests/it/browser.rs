//! A headless Chromium, driven over a pipe by its own protocol (CDP): no driver, no package,
//! nothing fetched.

use std::cell::RefCell;
use std::collections::VecDeque;
use std::io::{BufRead as _, BufReader, Write as _};
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::time::{Duration, Instant};

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use serde_json::{Value, json};
use tempfile::TempDir;

/// A browser with one tab.
pub(crate) struct Browser {
    child: Child,
    ask: RefCell<ChildStdin>,
    heard: Receiver<Value>,
    /// Errors of the console, and other complaints of the browser.
    complaints: RefCell<VecDeque<String>>,
    last: RefCell<u64>,
    session: String,
    _profile: TempDir,
}

impl Browser {
    /// Starts it; if there is no Chromium on this machine, prints that and returns none.
    pub(crate) fn start() -> Option<Self> {
        let names = ["chromium", "chromium-browser", "google-chrome"];
        let Some(name) = names.into_iter().find(|name| {
            Command::new(name)
                .arg("--version")
                .stdout(Stdio::null())
                .stderr(Stdio::null())
                .status()
                .is_ok()
        }) else {
            eprintln!(
                "NOT RUN: there is no Chromium on this machine, so nobody has looked at the page \
                 (apt-get install chromium)"
            );
            return None;
        };
        let profile = tempfile::tempdir().unwrap();
        // The browser wants its two pipes as descriptors 3 and 4.
        let script = "exec \"$0\" \"$@\" 3<&0 4>&1 </dev/null >/dev/null 2>&1";
        let mut child = Command::new("sh")
            .args([
                "-c",
                script,
                name,
                "--headless",
                "--no-sandbox",
                "--disable-gpu",
                "--disable-dev-shm-usage",
                "--remote-debugging-pipe",
            ])
            .args([
                "--no-first-run",
                "--hide-scrollbars",
                "--disable-background-networking",
                "--disable-component-update",
                "--disable-sync",
                "--disable-quic",
            ])
            .arg(format!("--user-data-dir={}", profile.path().display()))
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let (say, heard) = channel();
        let mut reader = BufReader::new(child.stdout.take().unwrap());
        std::thread::spawn(move || {
            let mut message = Vec::new();
            while reader.read_until(0, &mut message).is_ok_and(|count| count > 0) {
                message.pop();
                if say.send(serde_json::from_slice(&message).unwrap()).is_err() {
                    return;
                }
                message.clear();
            }
        });
        let ask = RefCell::new(child.stdin.take().unwrap());
        let mut browser = Self {
            child,
            ask,
            heard,
            complaints: RefCell::default(),
            last: RefCell::new(0),
            session: String::new(),
            _profile: profile,
        };
        let target = browser.call("Target.createTarget", json!({"url": "about:blank"}));
        let attached = browser.call(
            "Target.attachToTarget",
            json!({"targetId": target["targetId"], "flatten": true}),
        );
        browser.session = attached["sessionId"].as_str().unwrap().to_owned();
        for domain in ["Page", "Runtime", "Log", "Network"] {
            browser.call(&format!("{domain}.enable"), json!({}));
        }
        Some(browser)
    }

    /// Calls a method, and waits for the answer.
    #[track_caller]
    pub(crate) fn call(&self, method: &str, params: Value) -> Value {
        let id = self.last.borrow().to_owned() + 1;
        *self.last.borrow_mut() = id;
        let mut message = json!({"id": id, "method": method, "params": params});
        if !self.session.is_empty() {
            message["sessionId"] = json!(self.session);
        }
        let mut text = message.to_string().into_bytes();
        text.push(0);
        self.ask.borrow_mut().write_all(&text).unwrap();
        let until = Instant::now() + PATIENCE;
        loop {
            match self.heard.recv_timeout(until.saturating_duration_since(Instant::now())) {
                Ok(mut message) if message["id"] == json!(id) => {
                    assert!(message.get("error").is_none(), "{method}: {message}");
                    return message["result"].take();
                }
                Ok(event) => self.note(&event),
                Err(RecvTimeoutError::Timeout) => panic!("{method}: the browser does not answer"),
                Err(RecvTimeoutError::Disconnected) => panic!("{method}: the browser is gone"),
            }
        }
    }

    fn note(&self, event: &Value) {
        let params = &event["params"];
        let complaint = match event["method"].as_str() {
            Some("Runtime.exceptionThrown") => Some(params["exceptionDetails"].to_string()),
            Some("Log.entryAdded") if params["entry"]["level"] == "error" => {
                Some(params["entry"].to_string())
            }
            Some("Runtime.consoleAPICalled")
                if params["type"] == "error" || params["type"] == "assert" =>
            {
                Some(params["args"].to_string())
            }
            _ => None,
        };
        self.complaints.borrow_mut().extend(complaint);
    }

    /// Goes to a page.
    pub(crate) fn go(&self, url: &str) {
        self.call("Page.navigate", json!({"url": url}));
    }

    /// The value of an expression; for a promise, its result.
    #[track_caller]
    pub(crate) fn eval(&self, expression: &str) -> Value {
        let mut result = self.call(
            "Runtime.evaluate",
            json!({"expression": expression, "returnByValue": true, "awaitPromise": true}),
        );
        assert!(result.get("exceptionDetails").is_none(), "{expression}: {result}");
        result["result"]["value"].take()
    }

    /// Waits for an expression to become true.
    #[track_caller]
    pub(crate) fn until(&self, expression: &str) {
        let patience = Instant::now() + Duration::from_secs(30);
        while self.eval(&format!("!!({expression})")) != json!(true) {
            if Instant::now() > patience {
                panic!(
                    "waited in vain for {expression}; the page says:\n{}",
                    self.eval("document.body ? document.body.innerText : ''")
                );
            }
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    /// The size of the window, and whether the user prefers dark colours.
    pub(crate) fn look(&self, width: u32, height: u32, theme: &str) {
        let phone = width < 500;
        self.call(
            "Emulation.setDeviceMetricsOverride",
            json!({"width": width, "height": height, "deviceScaleFactor": 1, "mobile": phone}),
        );
        self.call(
            "Emulation.setEmulatedMedia",
            json!({"features": [{"name": "prefers-color-scheme", "value": theme}]}),
        );
    }

    /// A picture of the page, put where tests leave such things.
    pub(crate) fn picture(&self, name: &str) -> Vec<u8> {
        let shot = self.call(
            "Page.captureScreenshot",
            json!({"format": "png", "captureBeyondViewport": true}),
        );
        let bytes = BASE64_STANDARD.decode(shot["data"].as_str().unwrap()).unwrap();
        std::fs::write(std::path::Path::new(env!("CARGO_TARGET_TMPDIR")).join(name), &bytes)
            .unwrap();
        bytes
    }

    /// The complaints of the console since the last call.
    pub(crate) fn complaints(&self) -> Vec<String> {
        // Complaints before this answer have arrived.
        self.eval("0");
        self.complaints.borrow_mut().drain(..).collect()
    }
}

impl Drop for Browser {
    fn drop(&mut self) {
        let _ended = self.child.kill();
        let _reaped = self.child.wait();
    }
}

const PATIENCE: Duration = Duration::from_secs(30);
