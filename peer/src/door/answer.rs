//! The answer lines for clients.

use super::{Access, Fault};

/// The first line: the identity of this peer.
pub(super) fn greeting(peer: &str, cluster: &str, access: Access) -> Vec<u8> {
    let access = match access {
        Access::Full => "write",
        Access::ReadOnly => "read",
    };
    let (pid, build, cluster) = (std::process::id(), text(crate::BUILD), text(cluster));
    format!("{{\"peer\":\"{peer}\",\"cluster\":{cluster},\"speaks\":{SPEAKS},\"build\":{build},\"pid\":{pid},\"access\":\"{access}\"}}\n")
        .into_bytes()
}

/// A request is, or will be, performed; `body` is JSON.
pub(super) fn ok(id: &str, body: &str, out: &mut Vec<u8>) {
    out.extend_from_slice(format!("{{\"id\":{id},\"ok\":{body}}}\n").as_bytes());
}

/// A request failed, and why.
pub(super) fn fault(id: Option<&str>, fault: &Fault, out: &mut Vec<u8>) {
    let id = id.map(|id| format!("\"id\":{id},")).unwrap_or_default();
    let Fault { code, say } = fault;
    out.extend_from_slice(
        format!("{{{id}\"error\":{{\"code\":\"{code}\",\"say\":{}}}}}\n", text(say)).as_bytes(),
    );
}

/// A subscription ended: why, and where it could continue.
pub(super) fn end(id: &str, why: &Fault, next: &str, out: &mut Vec<u8>) {
    let next = if next.is_empty() { String::new() } else { format!(",{next}") };
    let Fault { code, say } = why;
    out.extend_from_slice(
        format!("{{\"id\":{id},\"end\":\"{code}\",\"say\":{}{next}}}\n", text(say)).as_bytes(),
    );
}

/// A text as JSON.
pub(super) fn text(text: &str) -> String {
    serde_json::to_string(text).expect("any text can be written as JSON")
}

/// The version of the socket's protocol.
const SPEAKS: u32 = 1;
