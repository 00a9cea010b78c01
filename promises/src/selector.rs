//! The targets of a step: `leader`, `2 members`, `$old`, `peer3`, a list. A selector is resolved
//! when the step runs, against the [`Standing`] of that moment, with a draw if several processes
//! match.
//!
//! Selectors denote processes, not peers. An undecidable selector is an error with the beliefs of
//! the peers, never a guess.

use std::collections::BTreeMap;
use std::fmt;
use std::str::FromStr;

use protocol::draw::draw_below;
use thiserror::Error;

use crate::standing::{Stand, Standing};

/// The names bound by steps (`as = "old"`), without the dollar sign; also `minority-of:<step>`.
pub type Bindings = BTreeMap<String, Vec<String>>;

/// The draw of a choice among equals: the same three values always choose the same.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Draw<'a> {
    /// The run's seed.
    pub seed: u64,
    /// The purpose of the choice, such as the step's id.
    pub purpose: &'a str,
    /// The repetition of the step.
    pub counter: u64,
}

/// The targets of a step.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Selector {
    /// The leader that more than half of the live processes name in their newest view.
    Leader,
    /// A live process that does not lead.
    Member,
    /// Any live process.
    Any,
    /// All live processes.
    All,
    /// The live process with the highest priority.
    Highest,
    /// The live process with the lowest priority.
    Lowest,
    /// The live process with the highest priority below the leader.
    Successor,
    /// The largest minority of the live processes.
    Minority,
    /// The smallest majority of the live processes.
    Majority,
    /// The live processes without any fault in this run.
    Survivors,
    /// All live processes that do not lead.
    Members,
    /// The processes that a partition left with fewer than half; recorded by the step.
    MinorityOf(String),
    /// A process by name, dead or alive.
    Named(String),
    /// The processes that an earlier step bound to a name.
    Bound(String),
    /// That number of processes, drawn from those of another selector.
    Some(usize, Box<Self>),
    /// All of these.
    List(Vec<Self>),
}

/// Why a selector denotes no process.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum SelectorError {
    /// Not a selector at all.
    #[error("unknown selector {text:?}{}", near.as_ref().map(|near| format!("; did you mean \
        `{near}`?")).unwrap_or_default())]
    Unknown {
        /// The text.
        text: String,
        /// The selector it looks like.
        near: Option<String>,
    },
    /// No process matches now; waiting may help.
    #[error("no process matches `{selector}`: {why}")]
    Nobody {
        /// The selector.
        selector: String,
        /// Why.
        why: String,
    },
    /// The leader is unknown; waiting may help.
    #[error("`{selector}` is undecided: no leader has a majority: {beliefs}")]
    Ambiguous {
        /// The selector.
        selector: String,
        /// The beliefs of the peers.
        beliefs: String,
    },
    /// No step has bound that name.
    #[error("no earlier step binds `${name}`{}", if known.is_empty() { String::new() } else { format!("; bound names are: {}", known.join(", ")) })]
    Unbound {
        /// The name.
        name: String,
        /// The names that are bound.
        known: Vec<String>,
    },
}

impl Selector {
    /// The processes that the selector denotes.
    /// # Errors
    /// [`SelectorError`], never `Unknown`; `Nobody` and `Ambiguous` may pass when the group moves
    /// on.
    pub fn resolve(
        &self,
        standing: &Standing,
        bindings: &Bindings,
        draw: Draw<'_>,
    ) -> Result<Vec<String>, SelectorError> {
        let live = standing.live();
        let one = |stand: Option<&&Stand>| {
            stand
                .map(|stand| vec![stand.process.clone()])
                .ok_or_else(|| self.nobody("nobody lives"))
        };
        match self {
            Self::Leader => Ok(vec![self.leader(standing)?.process.clone()]),
            Self::Members => {
                let leader = self.leader(standing)?;
                Ok(live
                    .iter()
                    .filter(|stand| stand.process != leader.process)
                    .map(|stand| stand.process.clone())
                    .collect())
            }
            Self::Member => pick(&Self::Members.resolve(standing, bindings, draw)?, 1, draw)
                .ok_or_else(|| self.nobody("only the leader lives")),
            Self::Successor => {
                let leader = self.leader(standing)?;
                let below = live.iter().rfind(|stand| stand.priority < leader.priority);
                below
                    .map(|stand| vec![stand.process.clone()])
                    .ok_or_else(|| self.nobody("nobody alive ranks below the leader"))
            }
            Self::Highest => one(live.last()),
            Self::Lowest => one(live.first()),
            Self::All if live.is_empty() => Err(self.nobody("nobody lives")),
            Self::All => Ok(names(&live)),
            Self::Any => pick(&names(&live), 1, draw).ok_or_else(|| self.nobody("nobody lives")),
            Self::Minority => match live.len().saturating_sub(1) / 2 {
                0 => Err(self.nobody("fewer than three live")),
                count => pick(&names(&live), count, draw)
                    .ok_or_else(|| self.nobody("fewer than three live")),
            },
            Self::Majority => pick(&names(&live), live.len() / 2 + 1, draw)
                .ok_or_else(|| self.nobody("nobody lives")),
            Self::Survivors => {
                let unhurt: Vec<String> = live
                    .iter()
                    .filter(|stand| !stand.hit)
                    .map(|stand| stand.process.clone())
                    .collect();
                if unhurt.is_empty() {
                    Err(self.nobody("something was done to everybody that lives"))
                } else {
                    Ok(unhurt)
                }
            }
            Self::Named(name) => match standing.find(name) {
                Some(_) => Ok(vec![name.clone()]),
                None => Err(self.nobody("no process of that name has been seen")),
            },
            Self::MinorityOf(step) => bindings
                .get(&self.to_string())
                .cloned()
                .ok_or_else(|| self.nobody(&format!("step {step:?} has cut nothing"))),
            Self::Bound(name) => {
                bindings.get(name).cloned().ok_or_else(|| SelectorError::Unbound {
                    name: name.clone(),
                    known: bindings.keys().cloned().collect(),
                })
            }
            Self::Some(count, of) => {
                let all = of.resolve(standing, bindings, draw)?;
                pick(&all, *count, draw)
                    .ok_or_else(|| self.nobody(&format!("there are only {}", all.len())))
            }
            Self::List(list) => {
                let mut all: Vec<String> = vec![];
                for selector in list {
                    for name in selector.resolve(standing, bindings, draw)? {
                        if !all.contains(&name) {
                            all.push(name);
                        }
                    }
                }
                Ok(all)
            }
        }
    }

    fn leader<'a>(&self, standing: &'a Standing) -> Result<&'a Stand, SelectorError> {
        let leader = standing
            .leader()
            .map_err(|beliefs| SelectorError::Ambiguous { selector: self.to_string(), beliefs })?;
        // A refused twin has the leader's name and no view.
        let bearers = standing.all().filter(|stand| stand.peer == leader && stand.alive);
        bearers
            .max_by_key(|stand| stand.view.is_some())
            .ok_or_else(|| self.nobody(&format!("{leader} led last and is dead")))
    }

    fn nobody(&self, why: &str) -> SelectorError {
        SelectorError::Nobody { selector: self.to_string(), why: why.to_owned() }
    }
}

fn names(stands: &[&Stand]) -> Vec<String> {
    stands.iter().map(|stand| stand.process.clone()).collect()
}

/// `count` of the names, with equal probability, in their order; none if there are too few or none
/// is wanted.
fn pick(names: &[String], count: usize, draw: Draw<'_>) -> Option<Vec<String>> {
    if count == 0 || names.len() < count {
        return None;
    }
    let mut left: Vec<usize> = (0..names.len()).collect();
    let mut picked: Vec<usize> = (0..count)
        .map(|turn| {
            // One counter per turn: the 64 turns of one draw do not overlap those of the next.
            let counter = draw.counter.wrapping_mul(1 << 16).wrapping_add(turn as u64);
            left.remove(draw_below(draw.seed, draw.purpose, counter, left.len() as u64) as usize)
        })
        .collect();
    picked.sort_unstable();
    Some(picked.into_iter().map(|at| names[at].clone()).collect())
}

const WORDS: [(&str, Selector); 14] = [
    ("leader", Selector::Leader),
    ("member", Selector::Member),
    ("members", Selector::Members),
    ("any", Selector::Any),
    ("all", Selector::All),
    ("highest", Selector::Highest),
    ("lowest", Selector::Lowest),
    ("successor", Selector::Successor),
    ("minority", Selector::Minority),
    ("majority", Selector::Majority),
    ("survivors", Selector::Survivors),
    ("survivor", Selector::Survivors),
    ("peers", Selector::All),
    ("everybody", Selector::All),
];

impl Selector {
    /// Parses a selector; a word that is neither one nor a name in `processes` is an error with a
    /// suggestion.
    ///
    /// # Errors
    /// [`SelectorError::Unknown`].
    pub fn parse(text: &str, processes: &[String]) -> Result<Self, SelectorError> {
        let selector: Self = text.parse()?;
        selector.known(processes)?;
        Ok(selector)
    }

    fn known(&self, processes: &[String]) -> Result<(), SelectorError> {
        match self {
            Self::Named(name) if !processes.contains(name) => {
                let words =
                    WORDS.iter().map(|(word, _)| *word).chain(processes.iter().map(String::as_str));
                let near = words
                    .map(|word| (distance(name, word), word))
                    .min()
                    .filter(|(far, _)| *far <= 2);
                Err(SelectorError::Unknown {
                    text: name.clone(),
                    near: near.map(|(_, word)| word.to_owned()),
                })
            }
            Self::Some(_, of) => of.known(processes),
            Self::List(list) => list.iter().try_for_each(|selector| selector.known(processes)),
            _ => Ok(()),
        }
    }
}

impl FromStr for Selector {
    type Err = SelectorError;

    /// Takes any word that is no selector for a process name; [`Selector::parse`] checks it.
    fn from_str(text: &str) -> Result<Self, SelectorError> {
        let text = text.trim();
        let unknown = || SelectorError::Unknown { text: text.to_owned(), near: None };
        if text.contains(',') {
            return text
                .split(',')
                .map(str::parse)
                .collect::<Result<Vec<Self>, _>>()
                .map(Self::List);
        }
        if let Some((_, selector)) = WORDS.iter().find(|(word, _)| *word == text) {
            return Ok(selector.clone());
        }
        if let Some((count, of)) = text.split_once(' ') {
            let count = count.parse().ok().filter(|count| *count > 0).ok_or_else(unknown)?;
            return match of.trim().parse()? {
                of @ (Self::Members
                | Self::All
                | Self::Survivors
                | Self::Bound(_)
                | Self::MinorityOf(_)) => Ok(Self::Some(count, Box::new(of))),
                Self::Member => Ok(Self::Some(count, Box::new(Self::Members))),
                Self::Any => Ok(Self::Some(count, Box::new(Self::All))),
                _ => Err(unknown()),
            };
        }
        if let Some(name) = text.strip_prefix('$') {
            return if name.is_empty() { Err(unknown()) } else { Ok(Self::Bound(name.to_owned())) };
        }
        if let Some(step) = text.strip_prefix("minority-of:") {
            return if step.is_empty() {
                Err(unknown())
            } else {
                Ok(Self::MinorityOf(step.to_owned()))
            };
        }
        let plain = !text.is_empty()
            && text.chars().all(|c| c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-'));
        if plain { Ok(Self::Named(text.to_owned())) } else { Err(unknown()) }
    }
}

impl fmt::Display for Selector {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Named(name) => f.write_str(name),
            Self::Bound(name) => write!(f, "${name}"),
            Self::MinorityOf(step) => write!(f, "minority-of:{step}"),
            Self::Some(count, of) => write!(f, "{count} {of}"),
            Self::List(list) => list
                .iter()
                .enumerate()
                .try_for_each(|(at, one)| write!(f, "{}{one}", if at == 0 { "" } else { ", " })),
            word => f.write_str(
                WORDS.iter().find(|(_, selector)| selector == word).map_or("", |(text, _)| text),
            ),
        }
    }
}

/// The Levenshtein distance; words are short, so the plain table suffices.
fn distance(a: &str, b: &str) -> usize {
    let b: Vec<char> = b.chars().collect();
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (i, x) in a.chars().enumerate() {
        let mut corner = row[0];
        row[0] = i + 1;
        for (j, y) in b.iter().enumerate() {
            let cost = corner + usize::from(x != *y);
            corner = row[j + 1];
            row[j + 1] = cost.min(row[j] + 1).min(corner + 1);
        }
    }
    row[b.len()]
}

#[cfg(test)]
mod tests {
    use super::{Bindings, Draw, Selector, SelectorError};
    use crate::standing::Standing;
    use protocol::id::{Epoch, Incarnation, Member, PeerId, Seq, ViewId};
    use protocol::log_id::LogId;
    use protocol::note::{EVENT_VERSION, Event, Note};
    use protocol::time::Time;

    const DRAW: Draw<'_> = Draw { seed: 7, purpose: "test", counter: 0 };

    fn say(standing: &mut Standing, name: &str, note: Note) {
        let p = PeerId::new(name).unwrap();
        standing.observe(
            name,
            &Event { v: EVENT_VERSION, t: Time::ZERO, p, inc: Incarnation(1), n: 0, note },
        );
    }

    /// peer1 to peer5, each following the named leader.
    fn group(leaders: [&str; 5]) -> Standing {
        let mut standing = Standing::new();
        for (at, leader) in leaders.into_iter().enumerate() {
            let name = format!("peer{}", at + 1);
            let start = Note::Start {
                pid: 0,
                pid_start: 0,
                log: None,
                address: "127.0.0.1:5001".to_owned(),
                build: String::new(),
                birth: 0,
                priority: 0,
                status: None,
                omits_readings: false,
            };
            say(&mut standing, &name, start);
            let leader = PeerId::new(leader).unwrap();
            let epoch =
                Epoch { round: 1, owner: Member { id: leader.clone(), inc: Incarnation(1) } };
            let view = Note::View {
                view_id: ViewId(1),
                epoch,
                seq: Seq(1),
                leader,
                members: vec![],
                incs: vec![],
                log: LogId::none(),
            };
            say(&mut standing, &name, view);
        }
        standing
    }

    #[track_caller]
    fn check(standing: &Standing, text: &str, expected: &[&str]) {
        let selector: Selector = text.parse().unwrap();
        assert_eq!(selector.resolve(standing, &Bindings::new(), DRAW).unwrap(), expected, "{text}");
    }

    #[test]
    fn words_mean_what_they_say() {
        let mut standing = group(["peer4"; 5]);
        check(&standing, "leader", &["peer4"]);
        check(&standing, "successor", &["peer3"]);
        check(&standing, "highest", &["peer5"]);
        check(&standing, "lowest", &["peer1"]);
        check(&standing, "members", &["peer1", "peer2", "peer3", "peer5"]);
        check(&standing, "peer2, leader, peer2", &["peer2", "peer4"]);
        standing.set_alive("peer3", false);
        check(&standing, "all", &["peer1", "peer2", "peer4", "peer5"]);
        check(&standing, "successor", &["peer2"]);
        check(&standing, "peer3", &["peer3"]);
    }

    #[test]
    fn a_choice_is_drawn_and_repeats() {
        let standing = group(["peer4"; 5]);
        let resolve = |text: &str, counter| {
            let selector: Selector = text.parse().unwrap();
            selector.resolve(&standing, &Bindings::new(), Draw { counter, ..DRAW }).unwrap()
        };
        let picks: std::collections::BTreeSet<Vec<String>> =
            (0..64).map(|counter| resolve("2 members", counter)).collect();
        assert_eq!(picks.len(), 6, "every pair of the four members comes up: {picks:?}");
        assert!(picks.iter().all(|pick| pick.len() == 2 && !pick.contains(&"peer4".to_owned())));
        assert_eq!(resolve("any", 3), resolve("any", 3));
        assert_eq!(resolve("minority", 0).len(), 2);
        assert_eq!(resolve("majority", 0).len(), 3);
    }

    #[test]
    fn an_open_question_quotes_who_believes_what() {
        let standing = group(["peer4", "peer4", "peer5", "peer5", "peer1"]);
        let selector: Selector = "leader".parse().unwrap();
        let error = selector.resolve(&standing, &Bindings::new(), DRAW).unwrap_err();
        assert!(matches!(&error, SelectorError::Ambiguous { .. }));
        assert!(error.to_string().contains("peer3 follows peer5 in view 1"), "{error}");
    }

    #[test]
    fn the_dead_lead_nobody() {
        let mut standing = group(["peer4"; 5]);
        standing.set_alive("peer4", false);
        let error = Selector::Leader.resolve(&standing, &Bindings::new(), DRAW).unwrap_err();
        assert_eq!(error.to_string(), "no process matches `leader`: peer4 led last and is dead");
    }

    #[test]
    fn bound_names_are_looked_up() {
        let standing = group(["peer4"; 5]);
        let bindings = Bindings::from([("old".to_owned(), vec!["peer4".to_owned()])]);
        let resolve =
            |text: &str| text.parse::<Selector>().unwrap().resolve(&standing, &bindings, DRAW);
        assert_eq!(resolve("$old").unwrap(), ["peer4"]);
        assert_eq!(
            resolve("$new").unwrap_err().to_string(),
            "no earlier step binds `$new`; bound names are: old"
        );
    }

    #[test]
    fn a_slip_of_the_pen_gets_a_suggestion() {
        let processes = ["peer1".to_owned(), "peer2".to_owned()];
        let words = |text: &str| Selector::parse(text, &processes).unwrap_err().to_string();
        assert_eq!(words("leeder"), "unknown selector \"leeder\"; did you mean `leader`?");
        assert_eq!(words("peer2, pear1"), "unknown selector \"pear1\"; did you mean `peer1`?");
        assert_eq!(words("0 members"), "unknown selector \"0 members\"");
        assert_eq!(words("2 leader"), "unknown selector \"2 leader\"");
        for text in ["leader", "2 members", "$old", "minority-of:cut", "peer1, any"] {
            assert_eq!(Selector::parse(text, &processes).unwrap().to_string(), text);
        }
    }
}
