//! Laws that a history cannot show, and why. Only the simulator judges them, because it looks into the peers.
//!
//! A history says what peers told, and not what each of them held at that moment. What is listed here is *unknown* after a run
//! of real processes, whatever else was found, and is never counted as kept.

/// A law that no history can show.
#[derive(Clone, Copy, Debug)]
pub struct Beyond {
    /// Its id, as the simulator reports it.
    pub id: &'static str,
    /// What it says.
    pub statement: &'static str,
    /// What a history lacks.
    pub why: &'static str,
}

/// All of them, in the order in which the simulator tells them.
pub static BEYOND: &[Beyond] = &[
    Beyond {
        id: "truly-stable",
        statement: "what anybody takes for stable, hands over as safe or acknowledges as safe was held by everybody in a view of \
                    that log (available), or by a quorum of the view in force (primary)",
        why: HELD,
    },
    Beyond { id: "says-truly", statement: "nobody says that it holds more of a log than it does", why: HELD },
    Beyond {
        id: "believes-no-more",
        statement: "a leader never believes that a member holds more of its log than it has held",
        why: "what a leader believes of its members is told nowhere",
    },
    Beyond {
        id: "second-holder",
        statement: "whose newest view has two members or more hands over nothing that no second one of them has held",
        why: HELD,
    },
    Beyond { id: "views-settled", statement: "mode primary: a view is numbered only when a quorum holds the one before it", why: HELD },
    Beyond {
        id: "retains",
        statement: "nobody discards what a member of its view lacks, unless `retain_entries` and `retain_bytes` are exceeded",
        why: "what a peer discards is told nowhere",
    },
    Beyond {
        id: "best-log",
        statement: "an epoch begins after the best log of those on its list, and nobody goes on in it whom its founder has not counted or let in",
        why: "where the log of each peer ended when it promised is told nowhere",
    },
];

const HELD: &str = "what a peer holds and has not handed over is told nowhere";
