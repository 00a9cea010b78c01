//! Waiting for a condition: asked at once, then again and again, at first after a fraction of a
//! millisecond, at last every 5 ms. A file or a process tells nobody that it has changed, and 5 ms
//! is less than anything it is waited for.

use std::thread::sleep;
use std::time::{Duration, Instant};

/// Asks until there is an answer or the time is over; the last question comes after the end of the
/// time.
///
/// # Errors
/// Those of the question.
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
