//! A mixed group: one peer of each kind of machine, on loopback, each from its own tarball; those
//! for other machines run under their emulators.
//!
//! Each kind leads once, and its leader is killed: peers of other kinds must agree on the new
//! leader, on the entries that the dead one left behind, and on the order of the next ones. Kinds
//! that cannot run here are reported; a mixed group needs two.

use std::path::{Path, PathBuf};
use std::time::Instant;

use super::bench::{Bench, Way};
use super::group::Group;
use super::target::{MACHINES, Machine};
use crate::failure::Failure;

/// Tests the group with these tarballs; returns a line for each leader, and one for each kind that
/// is not in the group.
pub(crate) fn try_group(
    root: &Path,
    tarballs: &[(Machine, PathBuf)],
) -> Result<Vec<String>, Failure> {
    let (mut kinds, mut absent) = (Vec::new(), Vec::new());
    for machine in &MACHINES {
        match (tarballs.iter().find(|(of, _)| of == machine), machine.runner()) {
            (None, _) => absent.push(format!("{}: there is no tarball for it", machine.name)),
            (Some(_), Err(why)) => absent.push(format!("{}: {why}", machine.name)),
            (Some((_, tarball)), Ok(runner)) => {
                let bench = Bench::new(root, &format!("mixed-{}", machine.name))?;
                let way =
                    bench.program(&bench.unpack(tarball)?.join("bin/peer"), runner.as_deref());
                kinds.push(Kind { name: machine.name, way, _bench: bench });
            }
        }
    }
    if kinds.len() < 2 {
        return Ok(vec![format!(
            "not run: a mixed group: it takes two kinds of machine; {}",
            absent.join("; ")
        )]);
    }
    let mut said: Vec<String> = Vec::new();
    for _ in 0..kinds.len() {
        said.push(survive_the_first(&kinds)?);
        kinds.rotate_left(1);
    }
    said.extend(absent.iter().map(|why| format!("not run: in the mixed group: {why}")));
    Ok(said)
}

/// A kind of machine whose programs can run here.
struct Kind {
    name: &'static str,
    way: Way,
    /// It exists for as long as its way.
    _bench: Bench,
}

/// The peer of the first kind leads and is killed; returns the result as one line.
fn survive_the_first(kinds: &[Kind]) -> Result<String, Failure> {
    let names: Vec<&str> = kinds.iter().map(|kind| kind.name).collect();
    eprintln!("trying a mixed group: {}", names.join(", "));
    let members: Vec<(&str, &Way)> = kinds.iter().map(|kind| (kind.name, &kind.way)).collect();
    let start = Instant::now();
    let mut group = Group::form(&members)?;
    let formed = start.elapsed();
    let took = group.lose_leader()?;
    group.leave()?;
    Ok(format!(
        "tried: a mixed group of {}: formed after {} ms, led by {}, which was killed; {} ms later \
         all others followed {} and went on",
        names.join(", "),
        formed.as_millis(),
        names[0],
        took.as_millis(),
        names[1]
    ))
}

#[cfg(test)]
mod tests {
    use super::try_group;
    use std::path::Path;

    #[test]
    fn a_group_that_cannot_be_mixed_is_not_run_and_says_so() {
        let said = try_group(Path::new("/nowhere"), &[]).unwrap();
        assert_eq!(said.len(), 1);
        assert!(
            said[0].starts_with("not run: a mixed group: it takes two kinds of machine; "),
            "{said:?}"
        );
        assert!(
            ["x86_64", "aarch64", "armv7"]
                .iter()
                .all(|kind| said[0].contains(&format!("{kind}: there is no tarball for it"))),
            "{said:?}"
        );
    }
}
