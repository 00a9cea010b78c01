//! The text of a view entry: `VIEW_CHANGE:<orderedPeerList>-<groupView>-<view_id>`, which is one
//! JSON value, a dash, one JSON value, a dash, a number. JSON quotes ids, so a dash in one of them
//! is harmless. The view's epoch and successor travel in the annex.

use std::collections::BTreeMap;
use std::fmt;
use std::net::{Ipv4Addr, SocketAddrV4};

use serde::de::{DeserializeOwned, MapAccess, Visitor};
use serde::{Deserialize, Deserializer, de};

use crate::error::WireError;
use crate::id::{Contact, Epoch, Incarnation, Member, NUMBER_MAX, PeerId, ViewId};
use crate::log::remarks::Remarks;
use crate::log::view::{Roster, View};

/// Writes the text. Ids need no escaping: their alphabet has nothing that JSON minds.
pub(super) fn write(view: &View, out: &mut impl fmt::Write) -> fmt::Result {
    out.write_str(PREFIX)?;
    out.write_str("[")?;
    for (at, contact) in view.members.iter().enumerate() {
        write!(out, "{}\"{}\"", if at == 0 { "" } else { "," }, contact.id())?;
    }
    out.write_str("]-{")?;
    for (at, contact) in view.members.iter().enumerate() {
        let Contact { member: Member { id, inc }, birth, address, explicit } = contact;
        let comma = if at == 0 { "" } else { "," };
        let role = if *id == view.leader { "leader" } else { "member" };
        write!(
            out,
            "{comma}\"{id}\":{{\"address\":\"{}\",\"port\":{},\"role\":\"{role}\",",
            address.ip(),
            address.port()
        )?;
        write!(out, "\"inc\":{inc},\"birth\":{birth},\"priority\":{explicit}}}")?;
    }
    write!(out, "}}-{}", view.view_id)
}

/// How long the text is.
pub(super) fn length(view: &View) -> usize {
    let mut counted = Count(0);
    write(view, &mut counted).expect("counting takes any text");
    counted.0
}

/// Reads the text.
pub(super) fn read(
    text: &[u8],
    epoch: Epoch,
    successor: Option<Contact>,
) -> Result<View, WireError> {
    parse(text, epoch, successor).ok_or_else(|| WireError::body("VIEW_CHANGE", FORM, text))
}

fn parse(text: &[u8], epoch: Epoch, successor: Option<Contact>) -> Option<View> {
    let rest = text.strip_prefix(PREFIX.as_bytes())?;
    let (list, rest): (Vec<PeerId>, _) = json(rest)?;
    let (Group(mut group), rest): (Group, _) = json(rest.strip_prefix(b"-")?)?;
    let number = std::str::from_utf8(rest.strip_prefix(b"-")?).ok()?;
    // One number has one spelling: no sign, no leading zero, no blank.
    let view_id: u64 = number
        .parse()
        .ok()
        .filter(|parsed: &u64| *parsed <= NUMBER_MAX && parsed.to_string() == number)?;
    let mut members = Vec::with_capacity(list.len());
    let mut leader = None;
    for id in list {
        // Taking it out finds a name that the list has twice, or that the group has not.
        let said = group.remove(&id)?;
        if said.role == Role::Leader && leader.replace(id.clone()).is_some() {
            return None;
        }
        members.push(said.contact(id));
    }
    group.is_empty().then_some(())?;
    Some(View {
        view_id: ViewId(view_id),
        epoch,
        leader: leader?,
        members: Roster::new(members),
        successor,
        remarks: Remarks::default(),
    })
}

/// The JSON value that `text` begins with, and what follows it.
fn json<T: DeserializeOwned>(text: &[u8]) -> Option<(T, &[u8])> {
    let mut values = serde_json::Deserializer::from_slice(text).into_iter::<T>();
    let value = values.next()?.ok()?;
    Some((value, &text[values.byte_offset()..]))
}

/// What the `groupView` says, by name.
struct Group(BTreeMap<PeerId, Said>);

/// What it says of one peer.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Said {
    address: Ipv4Addr,
    port: u16,
    role: Role,
    inc: Incarnation,
    birth: u64,
    priority: i64,
}

#[derive(Deserialize, PartialEq, Eq)]
#[serde(rename_all = "lowercase")]
enum Role {
    Leader,
    Member,
}

impl Said {
    fn contact(self, id: PeerId) -> Contact {
        Contact {
            member: Member { id, inc: self.inc },
            birth: self.birth,
            address: SocketAddrV4::new(self.address, self.port),
            explicit: self.priority,
        }
    }
}

// Not derived, because a derived map silently keeps the last of two values of one name.
impl<'de> Deserialize<'de> for Group {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Once;

        impl<'de> Visitor<'de> for Once {
            type Value = Group;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object that names each peer once")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Group, A::Error> {
                let mut group = BTreeMap::new();
                while let Some((id, said)) = map.next_entry::<PeerId, Said>()? {
                    if group.insert(id, said).is_some() {
                        return Err(de::Error::custom("a name stands twice"));
                    }
                }
                Ok(Group(group))
            }
        }

        deserializer.deserialize_map(Once)
    }
}

/// Measures text.
struct Count(usize);

impl fmt::Write for Count {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        self.0 += text.len();
        Ok(())
    }
}

const PREFIX: &str = "VIEW_CHANGE:";
const FORM: &str = "VIEW_CHANGE:<orderedPeerList>-<groupView>-<view_id>, both naming the same \
                    peers, one of them as the leader";
