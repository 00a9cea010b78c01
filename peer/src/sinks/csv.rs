//! One table per sensor, in long form: a row for each field of each reading, so that sensors with other fields need no
//! other columns.

use std::fmt::Write as _;

use protocol::seam::Reading;

use crate::clock::Stamp;
use crate::sensors::payload;

/// The first line of each table.
pub(super) const HEAD: &str = "time,epoch,seq,origin,sensor,field,value\n";

/// The sensor of a reading and its rows; none if the payload is no `DATA|…`.
pub(super) fn rows<'a>(reading: &Reading<'a>) -> Option<(&'a str, String)> {
    let data = payload::read(reading.payload)?;
    let mut rows = String::new();
    for (field, value) in data.fields {
        let (time, origin) = (Stamp(reading.time), &reading.run.origin.id);
        let (field, value) = (cell(field), cell(value));
        writeln!(rows, "{time},{},{},{origin},{},{field},{value}", reading.run.epoch, reading.seq, data.sensor)
            .expect("writing to a String cannot fail");
    }
    Some((data.sensor, rows))
}

/// A cell, quoted where it has to be (RFC 4180).
fn cell(text: &str) -> std::borrow::Cow<'_, str> {
    if text.contains([',', '"', '\n', '\r']) { format!("\"{}\"", text.replace('"', "\"\"")).into() } else { text.into() }
}

#[cfg(test)]
mod tests {
    use super::{cell, rows};
    use bytes::Bytes;
    use protocol::id::{Epoch, Incarnation, Member, Oseq, PeerId, Seq, ViewId};
    use protocol::readings::Readings;
    use protocol::seam::{Reading, Run};

    #[test]
    fn a_row_for_each_field() {
        let origin = Member { id: PeerId::new("p2").unwrap(), inc: Incarnation(5) };
        let epoch = Epoch { round: 3, owner: origin.clone() };
        let readings = Readings::one(Bytes::from_static(b"DATA|p2.host|2026|a=1|b=x,y"), 0);
        let (view_id, first, oseq, guarantee) = (ViewId(7), Seq(18), Oseq(9), protocol::config::Guarantee::Agreed);
        let run = Run { epoch, view_id, first, origin, oseq, guarantee, readings };
        let reading = run.iter().next().unwrap();
        let stem = "1970-01-01T00:00:00.000000Z,3.p2,18,p2,p2.host";
        assert_eq!(rows(&reading), Some(("p2.host", format!("{stem},a,1\n{stem},b,\"x,y\"\n"))));
        assert_eq!(rows(&Reading { payload: b"hello", ..reading }), None);
    }

    #[test]
    fn cells_are_quoted_where_they_must() {
        assert_eq!(cell("plain"), "plain");
        assert_eq!(cell("say \"hi\"\n"), "\"say \"\"hi\"\"\n\"");
    }
}
