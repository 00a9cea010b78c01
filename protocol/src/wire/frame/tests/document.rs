//! `WIRE.md` says what the code does: its examples are this build's own bytes, and mean what it
//! says they mean.

use bytes::Bytes;

use crate::wire::frame::{
    FIRST_FRAME_MAX, FRAME_MAX, HEADER, PREFIX, RUN_MAX, Verb, decode, decode_datagram, encode,
    encode_datagram,
};
use crate::wire::message::{Coordinator, Datagram, Message, WIRE_VERSION};

use super::readable;
use super::samples::{contact, epoch, samples};

/// The `wire` blocks of the document, in its order.
fn documented() -> Vec<&'static str> {
    include_str!("../../../../WIRE.md")
        .split("```wire\n")
        .skip(1)
        .map(|rest| rest.split("```").next().unwrap())
        .collect()
}

/// Puts these blocks in the place of those of the document; `UPDATE=1` asks for it, and `git diff`
/// shows what it did.
fn rewrite(blocks: impl Iterator<Item = String>) {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/WIRE.md");
    let document = std::fs::read_to_string(path).unwrap();
    let mut parts = document.split("```wire\n");
    let mut renewed = parts.next().unwrap().to_owned();
    for (part, block) in parts.zip(blocks) {
        let (_, after) = part.split_once("```").unwrap();
        renewed += &format!("```wire\n{block}```{after}");
    }
    std::fs::write(path, renewed).unwrap();
}

/// The value of a line of a block.#[track_caller]
fn line<'a>(block: &'a str, name: &str) -> &'a str {
    let found = block.lines().find_map(|line| line.strip_prefix(name));
    found.unwrap_or_else(|| panic!("no line {name:?} in\n{block}")).trim_start()
}

fn unhex(text: &str) -> Vec<u8> {
    let digits: Vec<char> = text.chars().filter(|c| !c.is_whitespace()).collect();
    digits
        .chunks(2)
        .map(|pair| u8::from_str_radix(&pair.iter().collect::<String>(), 16).unwrap())
        .collect()
}

/// Undoes [`readable`].
fn unescape(text: &str) -> Vec<u8> {
    let mut bytes = Vec::new();
    let mut rest = text.bytes();
    while let Some(byte) = rest.next() {
        bytes.push(match (byte, if byte == b'\\' { rest.next() } else { None }) {
            (_, None) => byte,
            (_, Some(b'n')) => b'\n',
            (_, Some(b't')) => b'\t',
            (_, Some(b'r')) => b'\r',
            (_, Some(b'x')) => unhex(&rest.by_ref().take(2).map(char::from).collect::<String>())[0],
            (_, Some(same)) => same,
        });
    }
    bytes
}

/// A block as it has to be: the bytes before the annex, the annex, the body, and what they mean.
fn block(bytes: &[u8], prefix: usize, means: &str) -> String {
    let hex = |bytes: &[u8]| bytes.iter().map(|byte| format!("{byte:02x}")).collect::<String>();
    let (header, rest) = bytes.split_at(prefix + HEADER);
    let (annex, body) =
        rest.split_at(u32::from_be_bytes(header[header.len() - 4..].try_into().unwrap()) as usize);
    let length = if prefix == 0 { String::new() } else { format!("{} ", hex(&header[..prefix])) };
    let annex = if annex.is_empty() { String::new() } else { format!("annex  {}\n", hex(annex)) };
    format!(
        "header {length}{}\n{annex}body   {}\nmeans  {means}\n",
        hex(&header[prefix..]),
        readable(body)
    )
}

/// The bytes of a block.
fn bytes_of(block: &str) -> Vec<u8> {
    let annex = if block.contains("\nannex ") { unhex(line(block, "annex ")) } else { Vec::new() };
    [unhex(line(block, "header ")), annex, unescape(line(block, "body "))].concat()
}

#[test]
fn the_document_shows_what_is_sent() {
    let datagram = Datagram {
        cluster: crate::draw::digest(b"home"),
        from: contact(2),
        count: 70,
        message: Message::Coordinator(Coordinator {
            leader: contact(2),
            epoch: epoch(2),
            size: 3,
            ask: None,
            names_you: false,
        }),
    };
    if std::env::var_os("UPDATE").is_some() {
        let first = block(&encode_datagram(&datagram), 0, &format!("{datagram:?}"));
        let others = samples().into_iter().map(|(message, _)| {
            let mut bytes = Vec::new();
            encode(&message, &mut bytes);
            block(&bytes, PREFIX, &format!("{message:?}"))
        });
        rewrite(std::iter::once(first).chain(others));
        return;
    }
    let mut blocks = documented().into_iter();
    let shown = blocks.next().unwrap();
    assert_eq!(shown, block(&encode_datagram(&datagram), 0, &format!("{datagram:?}")));
    assert_eq!(decode_datagram(&Bytes::from(bytes_of(shown))), Ok(datagram));

    let samples = samples();
    assert_eq!(blocks.len(), samples.len());
    for (shown, (message, _)) in blocks.zip(samples) {
        let mut bytes = Vec::new();
        encode(&message, &mut bytes);
        assert_eq!(shown, block(&bytes, PREFIX, &format!("{message:?}")));
        assert_eq!(decode(&Bytes::from(bytes_of(shown)).slice(PREFIX..)), Ok(message));
    }
}

#[test]
fn the_document_names_the_bounds() {
    let document = include_str!("../../../../WIRE.md");
    for (bound, digits) in
        [(FRAME_MAX, "33,554,432"), (FIRST_FRAME_MAX, "4,096"), (RUN_MAX, "65,536"), (HEADER, "12")]
    {
        assert_eq!(digits.replace(',', ""), bound.to_string());
        assert!(document.contains(&format!("| {digits} |")), "{digits}");
    }
    assert!(document.contains(&format!("Wire version **{WIRE_VERSION}**")));
    for code in 1..=23 {
        let verb = Verb::from_code(code).unwrap();
        assert!(document.contains(&format!("### {code} · {}\n", verb.name())), "{verb:?}");
    }
}
