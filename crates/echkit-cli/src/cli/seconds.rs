//! Durations on the command line.

use std::time::Duration;

pub(super) fn seconds(text: &str) -> Result<Duration, String> {
    let seconds: f64 = text
        .parse()
        .map_err(|_| "not a number of seconds".to_owned())?;
    match seconds > 0.0 {
        true => Duration::try_from_secs_f64(seconds).map_err(|e| e.to_string()),
        false => Err("must be more than 0".to_owned()),
    }
}
