//! Polls for a condition: at once, then after a fraction of a millisecond, and later every 5 ms. A
//! file or a process does not announce its changes, and 5 ms is shorter than any wait of this
//! crate.

use std::thread::sleep;
use std::time::{Duration, Instant};

/// Polls until there is an answer or the time is over; the last poll comes after the deadline.
///
/// # Errors
/// Those of the poll.
pub fn until<T, E>(
    within: Duration,
    mut ask: impl FnMut() -> Result<Option<T>, E>,
) -> Result<Option<T>, E> {
    let begun = Instant::now();
    let mut pause = PAUSE_FIRST;
    loop {
        let is_last = begun.elapsed() >= within;
        match ask()? {
            Some(answer) => return Ok(Some(answer)),
            None if is_last => return Ok(None),
            None => sleep(pause.min(within.saturating_sub(begun.elapsed()))),
        }
        pause = (pause * 2).min(PAUSE_MOST);
    }
}

const PAUSE_FIRST: Duration = Duration::from_micros(200);
const PAUSE_MOST: Duration = Duration::from_millis(5);

#[cfg(test)]
mod tests {
    use super::until;
    use std::convert::Infallible;
    use std::time::Duration;

    #[test]
    fn it_asks_at_least_once_and_stops_at_the_first_answer() {
        let mut asked = 0;
        let answer = until(Duration::ZERO, || {
            asked += 1;
            Ok::<_, Infallible>(None::<u8>)
        });
        assert_eq!((answer, asked), (Ok(None), 1));
        let mut asked = 0;
        let answer = until(Duration::from_secs(60), || {
            asked += 1;
            Ok::<_, Infallible>((asked == 3).then_some(asked))
        });
        assert_eq!(answer, Ok(Some(3)));
    }
}
