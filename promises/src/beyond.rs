//! Laws that a history cannot show, and why. Only the simulator judges them, because it sees the
//! state of the peers.
//!
//! A history holds the reports of the peers, and not the state of each peer at that moment. After a
//! run of real processes these laws are *unknown*, whatever else was found, and never count as
//! kept.

/// A law that no history can show.
#[derive(Clone, Copy, Debug)]
pub struct Beyond {
    /// Its id, as the simulator reports it.
    pub id: &'static str,
    /// Its statement.
    pub statement: &'static str,
    /// What a history lacks to show it.
    pub why: &'static str,
}

/// All of them, in the order of the simulator's report.
pub static BEYOND: &[Beyond] = &[
    Beyond {
        id: "truly-stable",
        statement: "what anybody takes for stable, hands over as safe or acknowledges as safe was \
                    held by everybody in a view of that log (available), or by a quorum of the \
                    view in force (primary)",
        why: HELD,
    },
    Beyond {
        id: "says-truly",
        statement: "nobody says that it holds more of a log than it does",
        why: HELD,
    },
    Beyond {
        id: "believes-no-more",
        statement: "a leader never believes that a member holds more of its log than it has held",
        why: "what a leader believes of its members is told nowhere",
    },
    Beyond {
        id: "second-holder",
        statement: "whose newest view has two members or more hands over nothing that no second \
                    one of them has held; before the first view of its epoch those on the list of \
                    that epoch count, too",
        why: HELD,
    },
    Beyond {
        id: "views-settled",
        statement: "mode primary: a view is numbered only when a quorum holds the one before it, \
                    with those who stay as a quorum of that one, and with newcomers only if those \
                    who have followed its leader are a quorum of it",
        why: HELD,
    },
    Beyond {
        id: "retains",
        statement: "nobody discards what a member of its view lacks, unless `retain_entries` and \
                    `retain_bytes` are exceeded",
        why: "what a peer discards is told nowhere",
    },
    Beyond {
        id: "best-log",
        statement: "an epoch begins after the best log of those on its list, who have all promised \
                    it and, in mode primary, are a quorum; it keeps what its founder knew to be \
                    stable, and nobody goes on in it whom its founder has not counted or let in",
        why: "where the log of each peer ended when it promised is told nowhere",
    },
    Beyond {
        id: "keeps-no-more",
        statement: "a publisher keeps, of its own readings that are stable, `merge_retain_entries` \
                    at most",
        why: "what a publisher keeps is told nowhere",
    },
    Beyond {
        id: "pressed-rightly",
        statement: "a leader turns readings away only while a member lags by more than \
                    `max_lag_entries` or its log weighs more than half of `retain_bytes`; it takes \
                    none while one lags beyond the middle between that and `retain_entries`, or \
                    while it makes way",
        why: "how far each member lags, and what a leader turns away, is told nowhere",
    },
    Beyond {
        id: "slow-put-out",
        statement: "mode available: a leader that knows, after a pause of its own, that it still \
                    leads puts out a member that lags by more than `max_lag_entries` for longer \
                    than `slow_timeout`",
        why: "how far each member lags is told nowhere",
    },
    Beyond {
        id: "place-told",
        statement: "a publisher is told of each reading where it truly stands, as soon as that \
                    stands in its log, or that it stands somewhere in the part that a snapshot \
                    stands for; at rest it was told so of each that is not lost, and that it is \
                    stable",
        why: "what a publisher is told goes to those who gave it its readings, and into no history",
    },
    Beyond {
        id: "no-silent-hole",
        statement: "what is handed over follows upon what was before it, position by position, \
                    unless a gap, a divergence or a merge is told",
        why: "what is handed over is told record by record, and `gap-free` judges that",
    },
    Beyond {
        id: "views-lived",
        statement: "a peer that comes back tells no view from before the one that let it in",
        why: "at which call a peer came back is told nowhere",
    },
    Beyond {
        id: "level-at-rest",
        statement: "at rest everybody in a group of those at rest has handed over what its log has \
                    held for two heartbeats, and knows it to be stable",
        why: HELD,
    },
    Beyond {
        id: "let-go",
        statement: "a peer that leaves a whole group is let go in time, leaves no reading behind \
                    and hands over all up to its last view",
        why: "whether the whole group was at rest when it was asked is told nowhere",
    },
    Beyond {
        id: "let-in-truly",
        statement: "a leader lets in nobody with whom it has no connection",
        why: LINKS,
    },
    Beyond {
        id: "put-out-truly",
        statement: "a member is left out of a view only if it is gone, leaves, lags, or has not \
                    followed this leader for as long as the bound, or if within that something was \
                    really wrong between the two, or at either of them",
        why: LINKS,
    },
    Beyond {
        id: "unseated-truly",
        statement: "nobody takes the place of a leader that leads on if the claimant was in a \
                    group and could reach that leader for `election_timeout` + `sync_timeout` \
                    before it leads, or one of its supporters that this leader still names for as \
                    long before it promised",
        why: LINKS,
    },
    Beyond {
        id: "dissolved-level",
        statement: "a leader whose group becomes part of another one steps down when all of its \
                    members hold all of its log, or after `sync_timeout`",
        why: LINKS,
    },
    Beyond {
        id: "led-in-time",
        statement: "in a part of hosts that all reach each other, and to which nothing has \
                    happened for `heartbeat_timeout` + `heartbeat_interval` + 2 × \
                    (`election_timeout` + `sync_timeout`), everybody who was in a group all the \
                    while follows one of them that leads, or (primary) they are no quorum, or its \
                    views name none of the others, and none of them and it hear each other; after \
                    a kill that a refused dial shows to everybody, 4 rounds of asking again \
                    replace the heartbeats and one election is enough; where somebody outside is \
                    heard and cannot be answered, one election more; where a leader moves to a \
                    higher epoch just then, or handed over less than one `sync_timeout` ago, one \
                    `sync_timeout` more",
        why: LINKS,
    },
    Beyond {
        id: "one-in-time",
        statement: "one return for each group that such a part fell into, and one more with the \
                    longest back-offs (and one `sync_timeout` where its leader moves to a higher \
                    epoch just then, or handed over less than that ago), after anything happened \
                    to it, it is one group, unless some do not hear each other, `members_max` are \
                    fewer or (primary) they are no quorum",
        why: LINKS,
    },
    Beyond {
        id: "ordered-in-time",
        statement: "where such a part is one group, and nobody has more than 64 readings that wait \
                    to be ordered, or more than `max_lag_entries`, and its leader turns none away \
                    (`pressed-rightly`), the first 8 that wait stand in the leader's log within \
                    three heartbeats, and in their publisher's log too, if the leader's has by \
                    then no more than 16 positions above what that one held at the beginning",
        why: LINKS,
    },
];

const HELD: &str = "what a peer holds and has not handed over is told nowhere";
const LINKS: &str = "what passed between whom at each moment is told nowhere";
