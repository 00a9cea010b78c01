//! The page from the users' point of view: in a real browser, with real peers.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::time::Duration;

use nix::sys::signal::Signal;
use serde_json::json;

use crate::bench::{Bench, Running, until};
use crate::browser::Browser;
use crate::talk::{Talk, assert_whole};

/// The address of a peer's page.
pub(crate) fn base(one: &Running) -> String {
    let mut base = String::new();
    until("the page to be served", || {
        let log = one.log();
        base = log
            .split("The page of this peer is ")
            .nth(1)
            .and_then(|rest| rest.split('/').nth(2))
            .map(|at| format!("http://{at}"))
            .unwrap_or_default();
        !base.is_empty()
    });
    base
}

/// A configuration of sensors with units; the flag that names it.
fn sensors(bench: &Bench, name: &str, text: &str) -> String {
    let path = bench.path(&format!("{name}.toml"));
    fs::write(&path, text).unwrap();
    path.display().to_string()
}

const BME: &str = r#"
interval = "200ms"
[[sensor]]
name = "bme280"
exec = ["sh", "-c", "while :; do i=$((i+1)); echo \"celsius=2$((i/7%5)).$((i%7)) percent=$((48+i%5))\"; sleep 0.15; done"]
units = { celsius = "°C", percent = "%" }
[[sensor]]
kind = "synthetic"
"#;
const PUMP: &str = r#"
[[sensor]]
name = "pump"
exec = ["sh", "-c", "for i in 1 2 3 4 5 6 7 8; do echo running=1 amps=2.$i; sleep 0.1; done; exec sleep 1000"]
units = { amps = "A" }
[[sensor]]
name = "soil"
exec = ["sh", "-c", "while :; do i=$((i+1)); echo \"moisture=$((31+i*i%17))\"; sleep 0.3; done"]
units = { moisture = "%" }
"#;

#[test]
fn three_peers_are_drawn_and_a_new_leader_is_shown_at_once() {
    let Some(browser) = Browser::start() else { return };
    let bench = Bench::new();
    let (bme, pump) = (sensors(&bench, "bme", BME), sensors(&bench, "pump", PUMP));
    // The peer with the lowest name serves the page, so that the leader can be killed.
    let mut group = [
        bench.start("peer1", &["--http", "127.0.0.1:0", "--config", &bme, "--cluster", "home"]),
        bench.start("peer2", &["--cluster", "home", "--config", &pump]),
        bench
            .start("peer3", &["--cluster", "home", "--sensor", "synthetic", "--interval", "300ms"]),
    ];
    until("the three to be one group", || group.iter().all(|one| one.members() == 3));
    let leader = bench.report("peer1").unwrap().status.leader.unwrap().to_string();
    let base = base(&group[0]);
    browser.look(1280, 900, "light");
    browser.go(&format!("{base}/"));
    browser.until("document.querySelectorAll('#ring .disc').length === 3");
    browser.until("document.querySelectorAll('#ring .lead').length === 1");
    let fact = |name: &str| format!("document.querySelector('[data-fact={name}] dd').textContent");
    browser.until(&format!("{} === '3'", fact("members")));
    assert_eq!(browser.eval(&fact("leader")), json!(leader));
    // The leader measures; a member asks it.
    browser.until("document.querySelectorAll('#ring .rtt').length === 2");
    browser.until(
        "document.getElementById('say').textContent.includes('The group of 3 can lose \
                   any 2 and go on.')",
    );
    browser.until(
        "[...document.querySelectorAll('#values .name')].some(name => name.textContent \
                   === 'peer1.bme280')",
    );
    browser.until(
        "[...document.querySelectorAll('#values tr')].some(row => \
         row.innerText.includes('celsius') && row.innerText.includes('°C'))",
    );
    // The unit of this one cannot be guessed; its peer has sent it.
    browser.until(
        "[...document.querySelectorAll('#values tr')].some(row => \
         row.innerText.includes('moisture') && row.innerText.includes('%'))",
    );
    browser.until("document.querySelectorAll('#charts figure').length >= 3");
    browser.until("document.querySelector('#events').innerText.includes('leads from now on')");

    // Foreign text is shown as text.
    let evil = "<img src=x onerror=\"window.hurt=1\">";
    Talk::with(&bench, "peer2").publish(evil);
    Talk::with(&bench, "peer2")
        .publish("DATA|<script>window.hurt=1</script>|now|<b>bold</b>=<i>1</i>");
    browser.until(&format!(
        "[...document.querySelectorAll('#values .val')].some(value => value.textContent === {})",
        json!(evil)
    ));
    browser.until(
        "[...document.querySelectorAll('#values .name')].some(name => name.textContent \
                   === '<script>window.hurt=1</script>')",
    );
    assert_eq!(
        browser.eval(
            "document.querySelectorAll('main img, main script, main i[src], #values b').length"
        ),
        json!(0)
    );
    assert_eq!(browser.eval("window.hurt === undefined"), json!(true));

    // A sensor that is silent for three times its interval is reported as late.
    browser.until(
        "[...document.querySelectorAll('#values tbody.late')].some(body => \
                   body.innerText.includes('peer2.pump') && body.innerText.includes('late'))",
    );

    for (name, width, theme) in [
        ("page-light.png", 1280, "light"),
        ("page-dark.png", 1280, "dark"),
        ("page-phone.png", 360, "light"),
    ] {
        browser.look(width, 900, theme);
        let frames =
            "new Promise(done => requestAnimationFrame(() => requestAnimationFrame(done)))";
        browser.eval(frames);
        let ground = browser.eval("getComputedStyle(document.body).backgroundColor");
        assert_eq!(ground == json!("rgb(14, 19, 23)"), theme == "dark", "{ground}");
        let wide = browser
            .eval("document.documentElement.scrollWidth - document.documentElement.clientWidth");
        assert_eq!(wide, json!(0), "{name} scrolls sideways");
        browser.until(
            "[...document.querySelectorAll('#charts svg')].every(svg => \
                       svg.getBoundingClientRect().right <= innerWidth && \
                       svg.viewBox.baseVal.width <= innerWidth)",
        );
        assert!(browser.picture(name).len() > 10_000);
    }
    browser.look(1280, 900, "light");

    // The leader dies. The page notes the moment at which it shows another one.
    let watch = format!(
        "window.shown = new Promise(done => {{ const look = () => {{ const now = {}; if (now !== \
         {} && now !== 'nobody') done([now, Date.now()]); else requestAnimationFrame(look); }}; \
         look(); }}); 0",
        fact("leader"),
        json!(leader)
    );
    browser.eval(&watch);
    let place = leader.strip_prefix("peer").unwrap().parse::<usize>().unwrap() - 1;
    assert_ne!(place, 0, "the page is served by another one");
    let killed = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap();
    group[place].signal(Signal::SIGKILL);
    let shown = browser.eval("window.shown");
    let took = Duration::from_millis(shown[1].as_u64().unwrap()).saturating_sub(killed);
    eprintln!("{leader} was killed; the page showed {} after {took:?}", shown[0]);
    assert!(took < Duration::from_secs(3), "{took:?}");
    browser.until("document.querySelectorAll('#ring .disc').length === 2");
    browser.until("document.querySelector('#events').innerText.includes('went on without')");
    browser.until(
        "[...document.querySelectorAll('#charts .moment')].some(line => \
                   line.getAttribute('aria-label').includes('leads'))",
    );
    browser.eval("document.querySelector('#charts .moment').focus()");
    browser.until("document.getElementById('mark').textContent.includes('view ')");
    browser.picture("page-after.png");

    // A reload begins with the retained records of the peer.
    let before = browser.eval("document.querySelectorAll('#values tbody').length");
    browser.call("Page.reload", json!({}));
    browser.until(&format!(
        "document.querySelectorAll('#values tbody').length === {before} && \
         document.querySelectorAll('#charts .moment').length > 0"
    ));
    assert_eq!(browser.complaints(), Vec::<String>::new());

    // The peer stops, and comes back; so does the page.
    group[0].signal(Signal::SIGKILL);
    group[0].wait();
    browser.until(
        "document.getElementById('verdict').className === 'wrong' && \
                   document.getElementById('say').textContent.includes('does not answer')",
    );
    let at = base.rsplit_once("//").unwrap().1.to_owned();
    group[0] = bench.start("peer1", &["--http", &at, "--config", &bme, "--cluster", "home"]);
    browser.until(
        "document.getElementById('verdict').className === 'well' || \
         document.getElementById('say').textContent.startsWith('Going on')",
    );
}

#[test]
fn with_a_token_the_page_is_for_those_who_have_it() {
    let Some(browser) = Browser::start() else { return };
    let bench = Bench::new();
    let path = bench.path("token");
    fs::write(&path, "0123456789abcdef").unwrap();
    fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).unwrap();
    let mut group = [bench
        .start("peer1", &["--http", "127.0.0.1:0", "--http-token-file", path.to_str().unwrap()])];
    let base = base(&group[0]);
    browser.go(&format!("{base}/"));
    browser.until("document.body.innerText.includes('show the token of this peer')");
    browser.complaints();
    browser.go(&format!("{base}/?token=0123456789abcdef"));
    browser.until("document.querySelectorAll('#ring .disc').length === 1");
    assert_eq!(browser.complaints(), Vec::<String>::new());
    until("it to be alone", || group[0].members() == 1);
    assert_whole(&bench, &mut group);
}

#[test]
fn forty_members_and_two_hundred_sensors_are_no_burden() {
    let Some(browser) = Browser::start() else { return };
    let bench = Bench::new();
    let group = [bench.start("peer1", &["--http", "127.0.0.1:0"])];
    let base = base(&group[0]);
    until("it to be alone", || group[0].members() == 1);
    let mut talk = Talk::with(&bench, "peer1");
    for round in 0..20 {
        for sensor in 0..200 {
            let payload = format!(
                "DATA|room{sensor}.meter|now|celsius={}|percent={}",
                20 + (sensor + round) % 7,
                round
            );
            talk.say(
                &json!({"id": sensor, "do": "publish", "payload": payload, "wait": "accepted"}),
            );
        }
        (0..200).for_each(|_| drop(talk.hear()));
    }
    browser.look(1280, 900, "dark");
    // Forty members are drawn as in a group of forty.
    let row = |n: u32| {
        let (role, lag) = if n == 0 { ("leader", None) } else { ("member", Some(n % 7 * 300)) };
        json!({"peer": format!("member{n:02}"), "inc": "1", "role": role, "lag": lag, "rtt_us": 100 + n, "for_ms": 5_000, "this": n == 7})
    };
    let rows: Vec<_> = (0..40).map(row).collect();
    let script = format!(
        "const add = EventSource.prototype.addEventListener; const rows = {};
         rows.forEach(row => {{ if (row.lag === null) delete row.lag; }});
         EventSource.prototype.addEventListener = function (name, take) {{
           add.call(this, name, event => {{
             if (name !== 'state') return take(event);
             const state = JSON.parse(event.data);
             state.members.members = rows;
             state.members.leader = 'member00';
             take({{ data: JSON.stringify(state), lastEventId: '' }});
           }});
         }};",
        json!(rows)
    );
    browser.call("Page.addScriptToEvaluateOnNewDocument", json!({"source": script}));
    browser.go(&format!("{base}/"));
    browser.until("document.querySelectorAll('#values tbody').length === 200");
    browser.until(
        "document.querySelectorAll('#ring .disc').length === 40 && \
                   document.querySelectorAll('#members tbody tr').length === 40",
    );
    let busy = browser.eval(
        "new Promise(done => { let worst = 0, last = performance.now(), end = last + 3000; const \
         step = () => { const now = performance.now(); worst = Math.max(worst, now - last); last = \
         now; if (now < end) requestAnimationFrame(step); else done(worst); }; \
         requestAnimationFrame(step); })",
    );
    eprintln!("the longest frame with 200 sensors: {busy} ms");
    assert!(busy.as_f64().unwrap() < 1_000.0, "{busy}");
    browser.picture("page-forty.png");
    browser.until("document.getElementById('more').hidden === false");
    browser.eval(
        "document.getElementById('find').value = 'room77.'; \
                  document.getElementById('find').dispatchEvent(new Event('input'))",
    );
    browser.until(
        "[...document.querySelectorAll('#values tbody')].filter(body => !body.hidden).length === 1",
    );
    assert_eq!(browser.complaints(), Vec::<String>::new());
}
