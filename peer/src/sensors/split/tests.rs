//! The results of sensors' lines; and no bytes make a parser panic.

use bytes::Bytes;
use protocol::draw::draw_below;

use super::{Fields, Misfit, Origin, Split, Value, Why, at_origin, read, sensor, sensor_at_most};

const ORIGIN: Origin<'static> = Origin { sensor: "p1.meter", tags: &[], payload_max: 1_000 };

fn split(line: impl AsRef<[u8]>) -> Split {
    at_origin(&Bytes::copy_from_slice(line.as_ref()), &ORIGIN)
}

/// The line becomes this payload, which parses back, and is published unchanged if a sensor prints
/// it.
#[track_caller]
fn check(line: &str, expected: &str) {
    check_counted(line, expected, 0);
}

#[track_caller]
fn check_counted(line: &str, expected: &str, texts: u64) {
    let Split::Typed { payload, kept_as_text } = split(line) else { panic!("{:?}", split(line)) };
    assert_eq!((str::from_utf8(&payload).unwrap(), kept_as_text), (expected, texts), "{line}");
    let fields = read(&payload).expect("what was split can be read");
    let Split::Typed { payload: again, .. } = split(&payload) else {
        panic!("{:?}", split(&payload))
    };
    assert_eq!((&again, read(&again)), (&payload, Some(fields)), "{line}");
}

#[track_caller]
fn check_verbatim(line: impl AsRef<[u8]>, expected: Why) {
    let line = line.as_ref();
    assert_eq!(
        split(line),
        Split::Verbatim { payload: Bytes::copy_from_slice(line), why: expected }
    );
    assert_eq!(read(line), None, "{}", line.escape_ascii());
}

#[track_caller]
fn check_why(line: &str, words: &str) {
    let Split::Verbatim { why, .. } = split(line) else { panic!("{:?}", split(line)) };
    assert!(why.to_string().contains(words), "{line}: {why}");
}

fn number(token: &str) -> Value<'_> {
    Value::Number(token)
}

fn text(text: &str) -> Value<'_> {
    Value::Text(text.into())
}

#[test]
fn the_original_form_stays_as_it_is() {
    for line in [
        "DATA|porch|2026-11-28T06:24:36Z|celsius=21.50|on=true",
        "DATA|größe|t|x=1|",
        "DATA|no time||x=",
        "DATA|a|t|note=a=b",
    ] {
        check(line, line);
    }
    check("\u{feff}DATA|bom|t|x=1\r\r", "DATA|bom|t|x=1");
    check_counted(
        "DATA|a|t|x=NaN|y=21,5|z=1234567890123456|w=3",
        "DATA|a|t|x=NaN|y=21,5|z=1234567890123456|w=3",
        3,
    );
}

#[test]
fn the_original_form_reads_back_with_its_types() {
    let values = [
        ("celsius", number("21.50")),
        ("state", text("on")),
        ("id", text("1234567890123456")),
        ("empty", text("")),
    ];
    let values = values.map(|(name, value)| (name.into(), value)).into();
    let fields =
        Fields { sensor: "porch".into(), time: Some("06:24".into()), values, tags: Vec::new() };
    assert_eq!(
        read(b"DATA|porch|06:24|celsius=21.50|state=on|id=1234567890123456|empty="),
        Some(fields)
    );
    assert_eq!(read(b"DATA|porch||x=1").unwrap().time, None);
    assert_eq!(
        read(b"DATA|porch|t|x=true").unwrap().values[0].1,
        text("true"),
        "the form has no booleans"
    );
}

#[test]
fn what_the_original_form_does_not_allow_is_verbatim() {
    check_verbatim("DATA|pipe|t|note=a|b", Why::Data(Misfit::NoField));
    check_verbatim("DATA||t|x=1", Why::Data(Misfit::NoSensor));
    check_verbatim("DATA|a|t", Why::Data(Misfit::NoFields));
    check_verbatim("DATA|a|t|x=1|y=2|x=3", Why::Twice("x".to_owned()));
    check_verbatim(b"DATA|latin|t|unit=\xb0C|temp=717", Why::NotText);
}

#[test]
fn an_object_is_flattened_and_its_tokens_are_kept() {
    check(
        r#"{"celsius":21.50,"n":-1E+5}"#,
        r#"{"sensor":"p1.meter","fields":{"celsius":21.50,"n":-1E+5}}"#,
    );
    check(
        r#" {"b": {"x":1, "y":{"z":"\u00e9\n"}}, "time":"06:24", "a":true, "sensor":"hall" } "#,
        r#"{"sensor":"hall","time":"06:24","fields":{"b.x":1,"b.y.z":"é\n","a":true}}"#,
    );
    check(
        r#"{"time":1765,"v":1,"gone":null}"#,
        r#"{"sensor":"p1.meter","time":"1765","fields":{"v":1}}"#,
    );
    check(
        r#"{"tags":{"room":"k"},"v":false}"#,
        r#"{"sensor":"p1.meter","fields":{"v":false},"tags":{"room":"k"}}"#,
    );
    check(
        r#"{"tags":{"room":1},"v":0}"#,
        r#"{"sensor":"p1.meter","fields":{"tags.room":1,"v":0}}"#,
    );
    check(
        r#"{"sensor":{"id":7},"time":true}"#,
        r#"{"sensor":"p1.meter","fields":{"sensor.id":7,"time":true}}"#,
    );
    check(r#"{"fields":1,"v":0}"#, r#"{"sensor":"p1.meter","fields":{"fields":1,"v":0}}"#);
    check_counted(
        r#"{"x":0.30000000000000004,"y":"NaN"}"#,
        r#"{"sensor":"p1.meter","fields":{"x":"0.30000000000000004","y":"NaN"}}"#,
        1,
    );
}

#[test]
fn the_canonical_form_is_its_own_and_may_name_fields_as_it_likes() {
    let line =
        r#"{"sensor":"a","time":"t","fields":{"sensor":"b","time":1,"x.y":2},"tags":{"room":"k"}}"#;
    check(line, line);
    check(
        r#"{"fields":{"sensor":1,"deep":{"x":2}}}"#,
        r#"{"sensor":"p1.meter","fields":{"sensor":1,"deep.x":2}}"#,
    );
    check(
        r#"{"fields":{"x":2},"more":3}"#,
        r#"{"sensor":"p1.meter","fields":{"fields.x":2,"more":3}}"#,
    );
}

#[test]
fn objects_that_would_have_to_be_guessed_are_verbatim() {
    check_verbatim(r#"{"a":1,"a":2}"#, Why::Twice("a".to_owned()));
    check_verbatim(r#"{"a.b":1,"a":{"b":2}}"#, Why::Twice("a.b".to_owned()));
    check_verbatim(r#"{"sensor":"a","sensor":"b","x":1}"#, Why::Twice("sensor".to_owned()));
    check_verbatim(r#"{"sensor":"a","fields":{"x":1,"x":2}}"#, Why::Twice("x".to_owned()));
    check_verbatim(r#"{"x":1,"tags":{"a":"1","a":"2"}}"#, Why::Twice("a".to_owned()));
    check_verbatim(r#"{"sensor":"a","fields":{"x":[1]}}"#, Why::List("x".to_owned()));
    check_verbatim(r#"{"":1}"#, Why::NoName);
    check_verbatim("{}", Why::NoFields);
    check_verbatim(r#"{"sensor":"a","fields":{"x":null}}"#, Why::NoFields);
    check_verbatim(format!("{}1{}", r#"{"a":"#.repeat(18), "}".repeat(18)), Why::TooDeep);
    let wide: Vec<String> = (0..10).map(|n| format!("\"{n}\":{n}")).collect();
    check_verbatim(format!("{{\"{}\":{{{}}}}}", "x".repeat(200), wide.join(",")), Why::Unfolds);
    check_why(r#"{"a":1"#, "no JSON");
    check_why(r#"{"a":01}"#, "no JSON");
    check_why(r#"{"a":NaN}"#, "no JSON");
    check_why(r#"{"a":"\ud800"}"#, "no JSON");
    check_why(r#"{"a":1} {"b":2}"#, "no JSON");
}

#[test]
fn line_protocol_has_tags_and_types() {
    check("weather temperature=82.50", r#"{"sensor":"weather","fields":{"temperature":82.50}}"#);
    check(
        "weather,location=us-midwest,season=summer temperature=82i,humid=7u,on=t,off=FALSE \
         1465839830100400200",
        r#"{"sensor":"weather","time":"1465839830100400200","fields":{"temperature":82,"humid":7,"on":true,"off":false},"tags":{"location":"us-midwest","season":"summer"}}"#,
    );
    check(
        r#"my\ sta\,tion,ta\ g\=x=va\,l f\ \,\=d="a \"b\" \\ c, d=e"  -7"#,
        r#"{"sensor":"my sta,tion","time":"-7","fields":{"f ,=d":"a \"b\" \\ c, d=e"},"tags":{"ta g=x":"va,l"}}"#,
    );
    check(r#"path p="C:\temp""#, r#"{"sensor":"path","fields":{"p":"C:\\temp"}}"#);
    check_counted(
        "w x=NaN,y=9223372036854775807i,z=+1",
        r#"{"sensor":"w","fields":{"x":"NaN","y":"9223372036854775807","z":"+1"}}"#,
        3,
    );
}

#[test]
fn what_is_no_line_protocol_says_why() {
    check_why("weather temperature=warm", "a value is no number");
    check_why("weather temperature=\"warm", "no closing quote");
    check_why("weather temperature=\"warm\"er", "something follows");
    check_why("weather temperature=1 soon", "whole number of a time");
    check_why("weather,room temperature=1", "a tag has no =");
    check_why("weather =1", "no name");
    check_why("weather a=1, b=2", "a field has no =");
    check_verbatim("weather a=1,a=2", Why::Twice("a".to_owned()));
    check_verbatim("weather,a=1,a=2 x=1", Why::Twice("a".to_owned()));
}

#[test]
fn pairs_are_split_at_blanks() {
    check(
        "celsius=21.50 percent=48",
        r#"{"sensor":"p1.meter","fields":{"celsius":21.50,"percent":48}}"#,
    );
    check(
        " sensor=porch\ttime=06:24  state=on note=\"two words \\\"here\\\"\" ok=true gone= ",
        r#"{"sensor":"porch","time":"06:24","fields":{"state":"on","note":"two words \"here\"","ok":true}}"#,
    );
    check("x=\"1\"", r#"{"sensor":"p1.meter","fields":{"x":"1"}}"#);
    check_counted("x=21,5 y=inf", r#"{"sensor":"p1.meter","fields":{"x":"21,5","y":"inf"}}"#, 2);
    check_why("a=1, b=2", "without a comma");
    check_why("a=1 and b=2", "a word has no =");
    check_why("a=b=c", "a = or a quote");
    check_why("http://x/?a=1", "a key is empty, or has a character");
    check_verbatim("aGVsbG8=", Why::NoFields);
    check_verbatim("a=1 a=2", Why::Twice("a".to_owned()));
}

#[test]
fn text_is_text() {
    for line in
        ["", "21.5", "hello world", "data|a|t|x", "[1,2]", "Traceback (most recent call last):"]
    {
        check_verbatim(line, Why::NoForm);
    }
    check_verbatim(b"\xff\x00", Why::NotText);
}

#[test]
fn lengths_are_those_of_the_payload() {
    let origin = Origin { payload_max: 30, ..ORIGIN };
    let split = |line: &str| at_origin(&Bytes::copy_from_slice(line.as_bytes()), &origin);
    let line = format!("DATA|a|t|x={}", "1".repeat(19));
    assert!(
        matches!(split(&format!("\u{feff}{line}\r\r")), Split::Typed { payload, .. } if payload == line.as_bytes())
    );
    assert_eq!(split(&format!("{line}1")), Split::TooLong { length: 31 });
    let Split::Verbatim { payload, why } = split("celsius=1 percent=2") else {
        panic!("it has grown")
    };
    assert_eq!(&payload[..], b"celsius=1 percent=2");
    assert_eq!(
        why,
        Why::Grows { length: r#"{"sensor":"p1.meter","fields":{"celsius":1,"percent":2}}"#.len() }
    );
}

#[test]
fn tags_of_the_sensor_are_added_and_the_lines_own_win() {
    let tags = [("room".to_owned(), "kitchen".to_owned()), ("floor".to_owned(), "1".to_owned())];
    let origin = Origin { tags: &tags, ..ORIGIN };
    let split = |line: &'static str| at_origin(&Bytes::from_static(line.as_bytes()), &origin);
    let typed = |payload: &'static str| Split::Typed {
        payload: Bytes::from_static(payload.as_bytes()),
        kept_as_text: 0,
    };
    let data =
        r#"{"sensor":"a","time":"t","fields":{"x":1.0},"tags":{"room":"kitchen","floor":"1"}}"#;
    assert_eq!(split("DATA|a|t|x=1.0"), typed(data));
    assert_eq!(
        split("w,room=hall x=1"),
        typed(r#"{"sensor":"w","fields":{"x":1},"tags":{"room":"hall","floor":"1"}}"#)
    );
}

#[test]
fn readers_take_the_canonical_object_and_nothing_near_it() {
    let fields = read(
        br#" {"tags":{"r":"k"}, "fields":{"x":12345678901234567,"y":null,"z":1}, "sensor":"a"}"#,
    );
    assert_eq!(fields, None, "it begins with a blank: nobody has published it");
    let fields =
        read(br#"{"tags":{"r":"k"},"fields":{"x":12345678901234567,"y":null,"z":1},"sensor":"a"}"#)
            .unwrap();
    assert_eq!(fields.values, [("x".into(), text("12345678901234567")), ("z".into(), number("1"))]);
    assert_eq!(fields.tags, [("r".into(), "k".into())]);
    for other in [
        r#"{"sensor":"a"}"#,
        r#"{"fields":{"x":1}}"#,
        r#"{"sensor":"","fields":{"x":1}}"#,
        r#"{"sensor":1,"fields":{"x":1}}"#,
        r#"{"sensor":"a","fields":{"x":{"y":1}}}"#,
        r#"{"sensor":"a","fields":{"x":1},"more":1}"#,
        r#"{"sensor":"a","fields":{"x":1},"fields":{"y":1}}"#,
        r#"{"sensor":"a","fields":{"x":1},"tags":{"r":1}}"#,
        r#"{"sensor":"a","fields":{"":1}}"#,
        r#"{"sensor":"a","fields":[1]}"#,
    ] {
        assert_eq!(read(other.as_bytes()), None, "{other}");
    }
}

/// Randomly changed lines of every form: nothing panics, typed payloads parse back, no payload is
/// too long, and the sensor found quickly is the one that the full parser finds.
#[test]
fn no_bytes_at_all_break_anything() {
    let seeds: [&[u8]; 6] = [
        b"DATA|porch|2026-11-28T06:24:36Z|celsius=21.50|note=a=b",
        br#"{"sensor":"a","time":1,"x":{"y":"\u00e9\ud83d\ude00","z":[1]},"tags":{"r":"k"},"n":null,"b":true}"#,
        br#"{"sensor":"a","fields":{"x":-1.5e3,"y":"t"},"tags":{"r":"k"}}"#,
        br#"wea\ ther,lo\,c=us\=x te="a \"b\" \\",n=-82i,b=t 1465839830"#,
        "größe=1.5 sensor=\"a b\" note=\"x \\\" y\" z=NaN".as_bytes(),
        b"plain text",
    ];
    let pieces: [&[u8]; 16] = [
        b"\\",
        b"\"",
        b"=",
        b",",
        b" ",
        b"{",
        b"}",
        b"|",
        b":",
        b"\xff",
        b"\0",
        b"DATA|",
        b"\xf0\x9f\x98\x80",
        b"null",
        b"i",
        b"\r",
    ];
    let tags = [("room".to_owned(), "k\"\\".to_owned())];
    let (mut typed, mut named) = (0, 0);
    for round in 0..100_000 {
        let draw = |purpose: &str, step: u64, bound: usize| {
            usize::try_from(draw_below(round, purpose, step, bound as u64))
                .expect("less than the bound")
        };
        let mut line = seeds[draw("seed", 0, seeds.len())].to_vec();
        for step in 0..=draw("steps", 0, 4) as u64 {
            let at = draw("at", step, line.len() + 1);
            match draw("what", step, 4) {
                0 => line.truncate(at),
                1 => drop(line.splice(at..(at + draw("cut", step, 6)).min(line.len()), [])),
                _ => drop(
                    line.splice(at..at, pieces[draw("piece", step, pieces.len())].iter().copied()),
                ),
            }
        }
        let (exact, at_most) = (sensor(&line), sensor_at_most(&line));
        assert!(
            exact.is_empty() || exact == at_most,
            "{}: {exact:?} is not {at_most:?}",
            line.escape_ascii()
        );
        named += u64::from(!exact.is_empty());
        let origin = Origin {
            sensor: "p1.s",
            tags: if round % 2 == 0 { &tags } else { &[] },
            payload_max: 120,
        };
        match at_origin(&Bytes::copy_from_slice(&line), &origin) {
            Split::Typed { payload, .. } => {
                typed += 1;
                assert!(payload.len() <= origin.payload_max);
                let fields = read(&payload).unwrap_or_else(|| panic!("{}", payload.escape_ascii()));
                assert!(!fields.sensor.is_empty() && !fields.values.is_empty());
                assert_eq!(
                    round % 2 == 0,
                    fields.tags.iter().any(|(name, _)| name == "room"),
                    "{}",
                    payload.escape_ascii()
                );
            }
            Split::Verbatim { payload, why } => {
                assert!(payload.len() <= origin.payload_max && !why.to_string().is_empty());
                if !matches!(why, Why::Grows { .. }) {
                    assert_eq!(read(&payload), None, "{}: {why}", payload.escape_ascii());
                }
            }
            Split::TooLong { length } => assert!(length > origin.payload_max),
        }
    }
    assert!(named > 5_000, "{named} of the lines named a sensor as they stand");
    assert!(typed > 5_000, "{typed} of the lines were still lines");
}

/// The examples of the page are true.
#[test]
fn the_documentation_says_what_happens() {
    let page = include_str!("../../../../docs/DATA.md");
    let origin = Origin { sensor: "attic.meter", ..ORIGIN };
    let examples: Vec<(&str, &str)> = page
        .lines()
        .zip(page.lines().skip(1))
        .filter_map(|(line, next)| Some((line, next.strip_prefix("  → ")?)))
        .collect();
    assert_eq!(examples.len(), 7, "{examples:?}");
    for (line, expected) in examples {
        let (Split::Typed { payload, .. } | Split::Verbatim { payload, .. }) =
            at_origin(&Bytes::copy_from_slice(line.as_bytes()), &origin)
        else {
            panic!("{line}")
        };
        assert_eq!(str::from_utf8(&payload).unwrap(), expected, "{line}");
    }
}
