//! `protocol/WIRE.md` names one wire version wherever it names one.

use protocol::message::WIRE_VERSION;

use crate::source::{page, table};

#[test]
fn the_document_names_one_wire_version() {
    let document = page("protocol/WIRE.md");
    assert!(document.contains(&format!("Wire version **{WIRE_VERSION}**")));
    let header = table(&document, "| Offset | Size |");
    let version = header.iter().find(|row| row[2] == "wire version").expect("the field");
    assert_eq!(version[3], WIRE_VERSION.to_string());
    for example in document.lines().filter_map(|line| line.strip_prefix("header ")) {
        // Behind the length, which a datagram does not have, stand the magic and the version.
        let (_, rest) = example.split_once("d553454e").expect("the magic");
        assert!(rest.starts_with(&format!("{WIRE_VERSION:02x}")), "{example}");
    }
}
