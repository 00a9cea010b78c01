//! The addresses of the members of the last views: announced to like seed addresses, at the start
//! and while the group is smaller than it was.
//!
//! So a peer whose only seed address has moved or died still knows other members. The file
//! `contacts` in the data folder has one line for each, `kitchen 10.0.0.4:9001`, newest first. It
//! is only a hint: an unreadable file is reported and ignored, and a peer that answers at such an
//! address has to identify itself.

use std::fs::{self, OpenOptions};
use std::io::{self, ErrorKind, Read as _, Write as _};
use std::net::SocketAddrV4;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::Path;

use nix::fcntl::OFlag;
use protocol::id::{Contact, PeerId};

use crate::disk;

/// The recent members.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Contacts {
    known: Vec<Known>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
struct Known {
    id: PeerId,
    address: SocketAddrV4,
    /// Whether it is in the newest view.
    present: bool,
}

impl Contacts {
    /// The view has changed: these are its other members. True if the contacts changed.
    pub fn meet<'a>(&mut self, others: impl Iterator<Item = &'a Contact>) -> bool {
        let before = self.clone();
        let mut known: Vec<Known> = others
            .map(|contact| Known {
                id: contact.id().clone(),
                address: contact.address,
                present: true,
            })
            .collect();
        let old = std::mem::take(&mut self.known).into_iter();
        let mut gone: Vec<Known> =
            old.filter(|old| !known.iter().any(|new| new.id == old.id)).collect();
        gone.iter_mut().for_each(|known| known.present = false);
        // Of a group that is larger than this file, some suffice.
        known.truncate(KNOWN_MAX / 2);
        known.extend(gone);
        known.truncate(KNOWN_MAX);
        self.known = known;
        *self != before
    }

    /// The addresses of contacts that are not in the newest view.
    #[must_use]
    pub fn missing(&self) -> Vec<SocketAddrV4> {
        self.known.iter().filter(|known| !known.present).map(|known| known.address).collect()
    }

    /// The content of the file.
    #[must_use]
    pub fn text(&self) -> String {
        self.known.iter().map(|known| format!("{} {}\n", known.id, known.address)).collect()
    }

    /// Parses the file; also returns the number of invalid lines.
    #[must_use]
    pub fn parse(text: &str) -> (Self, usize) {
        let line = |line: &str| {
            let (id, address) = line.split_once(' ')?;
            let address: SocketAddrV4 = address.parse().ok().filter(is_dialled)?;
            Some(Known { id: PeerId::new(id).ok()?, address, present: false })
        };
        let lines = text.lines().filter(|line| !line.is_empty());
        let known: Vec<Option<Known>> = lines.take(KNOWN_MAX).map(line).collect();
        let wrong = known.iter().filter(|known| known.is_none()).count();
        (Self { known: known.into_iter().flatten().collect() }, wrong)
    }

    /// Loads the contacts of an earlier life. An unreadable file is reported, and no reason to
    /// fail.
    #[must_use]
    pub fn load(path: &Path) -> Self {
        let mut bytes = Vec::new();
        let read = OpenOptions::new()
            .read(true)
            .custom_flags(READING.bits())
            .open(path)
            .and_then(|file| file.take(FILE_BYTES_MAX).read_to_end(&mut bytes));
        match read {
            Ok(_) => {
                let (contacts, wrong) = Self::parse(&String::from_utf8_lossy(&bytes));
                if wrong > 0 {
                    log::warn!(
                        "{}: {wrong} lines are no contacts; they are left out, and the file is \
                         written anew.",
                        path.display()
                    );
                }
                contacts
            }
            Err(error) if error.kind() == ErrorKind::NotFound => Self::default(),
            Err(error) => {
                log::warn!(
                    "Cannot read {}: {error}. Where the others were is not known; they are found \
                     as at a first start.",
                    path.display()
                );
                Self::default()
            }
        }
    }
}

/// Writes a new file and renames it, so that a crash leaves the old one or the new one.
///
/// # Errors
/// Those of the operating system; the old file stays then.
pub fn write(path: &Path, text: &str) -> io::Result<()> {
    let beside = path.with_extension("new");
    let _left_over = fs::remove_file(&beside);
    let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&beside)?;
    file.write_all(text.as_bytes())?;
    disk::sync_all(&file)?;
    fs::rename(&beside, path)
}

fn is_dialled(address: &SocketAddrV4) -> bool {
    let ip = address.ip();
    address.port() != 0 && !ip.is_unspecified() && !ip.is_broadcast() && !ip.is_multicast()
}

/// The name of the file in the data folder.
pub const FILE: &str = "contacts";
/// Does not follow a link, and does not wait for a named pipe.
const READING: OFlag = OFlag::O_NOFOLLOW.union(OFlag::O_NONBLOCK);
const KNOWN_MAX: usize = 64;
const FILE_BYTES_MAX: u64 = 16 << 10;

#[cfg(test)]
mod tests {
    use super::{Contact, Contacts, FILE, KNOWN_MAX, PeerId, write};
    use protocol::id::{Incarnation, Member};

    fn contact(n: usize) -> Contact {
        let member = Member { id: PeerId::new(&format!("p{n}")).unwrap(), inc: Incarnation(1) };
        Contact {
            member,
            birth: 1,
            address: format!("10.0.0.1:{}", 1_000 + n).parse().unwrap(),
            explicit: 0,
        }
    }

    fn missing(contacts: &Contacts) -> Vec<u16> {
        contacts.missing().iter().map(std::net::SocketAddrV4::port).collect()
    }

    #[test]
    fn whoever_is_in_the_view_no_more_is_asked_where_it_was() {
        let all = [1, 2, 3].map(contact);
        let mut contacts = Contacts::default();
        assert!(contacts.meet(all.iter()) && !contacts.meet(all.iter()));
        assert!(missing(&contacts).is_empty());
        assert!(contacts.meet(all[..1].iter()));
        assert_eq!(missing(&contacts), [1_002, 1_003]);
        contacts.meet(all[1..].iter());
        assert_eq!(missing(&contacts), [1_001]);
        let moved = Contact { address: "10.0.0.9:1".parse().unwrap(), ..contact(2) };
        assert!(contacts.meet([&moved].into_iter()), "another address is news");
    }

    #[test]
    fn a_large_group_does_not_push_out_who_is_missing() {
        let mut contacts = Contacts::default();
        contacts.meet([contact(1)].iter());
        let many: Vec<Contact> = (2..500).map(contact).collect();
        contacts.meet(many.iter());
        assert_eq!((contacts.known.len(), missing(&contacts)), (KNOWN_MAX / 2 + 1, vec![1_001]));
        contacts.meet([].into_iter());
        assert!(contacts.known.len() <= KNOWN_MAX);
    }

    #[test]
    fn they_outlive_the_process_and_nothing_in_the_file_is_believed_blindly() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join(FILE);
        assert_eq!(Contacts::load(&path), Contacts::default());
        let mut contacts = Contacts::default();
        contacts.meet([1, 2].map(contact).iter());
        write(&path, &contacts.text()).unwrap();
        assert_eq!(missing(&Contacts::load(&path)), [1_001, 1_002]);
        std::fs::write(&path, b"\0\0\0\xFF\np1 10.0.0.1:1001\np2 0.0.0.0:5\np3\np4 10.0.0.1:0\n\n")
            .unwrap();
        assert_eq!(missing(&Contacts::load(&path)), [1_001]);
        assert_eq!(Contacts::parse("p1 10.0.0.1:1001\nrubbish").1, 1);
        std::fs::remove_file(&path).unwrap();
        std::fs::create_dir(&path).unwrap();
        assert_eq!(Contacts::load(&path), Contacts::default());
        assert!(write(&path, "x").is_err());
        write(&folder.path().join("other"), "y").unwrap();
    }
}
