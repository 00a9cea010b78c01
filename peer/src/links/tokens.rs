//! The event tokens of links.
//!
//! A token has as many bits as a pointer, the number of a link has 64. On a 32-bit board, a peer
//! with a stranger that connects again and again would run out of tokens within weeks. So a token
//! is the low bits of the number, on every machine alike, and denotes the newest link with these
//! low bits. A link that outlives two thousand million others gets no more events; its silence then
//! ends it.

use mio::Token;
use protocol::id::LinkId;

use super::FIRST_LINK;

/// Tokens of links, and links of tokens.
#[derive(Debug, Default)]
pub(super) struct Tokens {
    /// The highest numbers so far: of dialled links, and of accepted ones.
    newest: [u64; 2],
}

impl Tokens {
    /// The token of a link that is registered now.
    pub(super) fn of(&mut self, id: LinkId) -> Token {
        let newest = &mut self.newest[kind(id.0)];
        *newest = id.0.max(*newest);
        let low = usize::try_from(id.0 % SPAN)
            .expect("31 bits fit into a pointer of every machine that has an operating system");
        Token(FIRST_LINK.0 + low)
    }

    /// The newest link of this token, if there has been one.
    pub(super) fn link(&self, token: Token) -> Option<LinkId> {
        let low = u64::try_from(token.0.checked_sub(FIRST_LINK.0)?).ok()?;
        let newest = self.newest[kind(low)];
        let number = newest - newest % SPAN + low;
        if number > newest { number.checked_sub(SPAN).map(LinkId) } else { Some(LinkId(number)) }
    }
}

/// Numbers of dialled links are even, those of accepted ones odd.
fn kind(number: u64) -> usize {
    usize::from(number % 2 == 1)
}

/// How many numbers have different tokens.
const SPAN: u64 = 1 << 31;

#[cfg(test)]
mod tests {
    use super::{FIRST_LINK, LinkId, SPAN, Tokens};
    use mio::Token;

    #[test]
    fn a_token_leads_back_to_its_link_however_many_there_have_been() {
        let mut tokens = Tokens::default();
        assert_eq!(tokens.link(Token(0)), None, "that of the listener");
        assert_eq!(tokens.link(Token(FIRST_LINK.0 + 6)), None, "nothing was dialled yet");
        for k in [0, 1, 7, SPAN / 2 - 1, SPAN / 2, SPAN, SPAN * 1_000 + 3] {
            for id in [LinkId::accepted(k), LinkId::dialled(k / 3)] {
                let token = tokens.of(id);
                assert!(token.0 >= FIRST_LINK.0 && u32::try_from(token.0).is_ok(), "{token:?}");
                assert_eq!(tokens.link(token), Some(id));
            }
        }
        let (old, new) = (LinkId::accepted(SPAN - 5), LinkId::accepted(SPAN + 5));
        let mut tokens = Tokens::default();
        let (before, after) = (tokens.of(old), tokens.of(new));
        assert_eq!(
            (tokens.link(before), tokens.link(after)),
            (Some(old), Some(new)),
            "the numbers have come round between them"
        );
    }
}
