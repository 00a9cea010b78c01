//! The planned searches: each starts somewhere else or permits other faults, because all bounds
//! together in one search would be out of reach.

use protocol::config::Mode;

use crate::bounds::Bounds;
use crate::start::Start;

/// A search with a name.
#[derive(Clone, Copy, Debug)]
pub struct Planned {
    /// Its name.
    pub name: &'static str,
    /// Where it starts.
    pub start: Start,
    /// How far it goes.
    pub bounds: Bounds,
}

/// The depth of the plan.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Depth {
    /// A minute or two in total.
    Usual,
    /// As far as some gigabytes and an hour permit; not every search is completed.
    Deep,
}

/// The searches of a plan.
#[must_use]
pub fn plan(depth: Depth, mode: Mode) -> Vec<Planned> {
    let deep = depth == Depth::Deep;
    let (states, seconds) = if deep { (120_000_000, 1_800) } else { (20_000_000, 1_200) };
    let all = Bounds {
        peers: 3,
        crashes: 0,
        readings: 0,
        resets: 0,
        passes: 0,
        rests: 0,
        pauses: 0,
        rounds: 4,
        datagrams: false,
        safe: false,
        states,
        seconds,
        memory: u64::MAX,
    };
    // It starts in the second round, and may use as many further ones.
    let elected = Bounds { rounds: all.rounds + 1, ..all };
    let either = |usual: u8, further: u8| if deep { further } else { usual };
    // In mode `primary` a blocked peer dials by itself and needs no datagram; datagrams would make
    // the search long.
    let primary = mode == Mode::Primary;
    let merge_passes = u8::from(primary);
    let planned = |name, start, bounds| Planned { name, start, bounds };
    let mut plan = vec![
        planned(
            "crashes",
            Start::Formed,
            Bounds { crashes: 2, readings: 2, rests: either(1, 3), ..elected },
        ),
        planned("silence", Start::Formed, Bounds { readings: either(1, 2), passes: 2, ..elected }),
        planned(
            "crashes_and_silence",
            Start::Formed,
            Bounds { crashes: 2, readings: 1, passes: either(1, 2), ..elected },
        ),
        planned(
            "broken_connections",
            Start::Formed,
            Bounds { crashes: 1, readings: either(0, 1), resets: 1, ..elected },
        ),
        planned(
            "pause",
            Start::Formed,
            Bounds {
                crashes: either(0, 1),
                readings: either(0, 1),
                passes: 1,
                pauses: 1,
                ..elected
            },
        ),
        planned(
            "pause_of_two",
            Start::Star,
            Bounds { peers: 2, crashes: 1, readings: 1, passes: either(1, 2), pauses: 1, ..all },
        ),
        planned(
            "safe",
            Start::Formed,
            Bounds {
                crashes: 2,
                readings: 1,
                passes: either(0, 1),
                rests: 2,
                safe: true,
                ..elected
            },
        ),
        // A fresh group establishes its links in its first election, in any order, so few other
        // events may happen.
        planned(
            "star_crashes",
            Start::Star,
            Bounds { crashes: 2, readings: 1, rests: either(0, 1), ..all },
        ),
        planned("star_silence", Start::Star, Bounds { readings: either(0, 1), passes: 2, ..all }),
        planned(
            "boot_of_two",
            Start::Boot,
            Bounds { peers: 2, readings: 1, rests: either(4, 6), datagrams: true, ..all },
        ),
        planned(
            "late_boot_of_two",
            Start::Boot,
            Bounds {
                peers: 2,
                readings: either(0, 1),
                passes: 1,
                rests: 2,
                datagrams: true,
                ..all
            },
        ),
        planned(
            "merge",
            Start::Torn,
            Bounds {
                crashes: either(0, 1),
                passes: either(merge_passes, 2),
                datagrams: deep || !primary,
                ..all
            },
        ),
    ];
    // In mode `available` any of three peers may found a group of its own; only a deep search sees
    // them all merge.
    if deep || primary {
        plan.push(planned(
            "boot_of_three",
            Start::Boot,
            Bounds { passes: either(0, 1), rests: either(3, 6), datagrams: true, ..all },
        ));
    }
    plan
}
