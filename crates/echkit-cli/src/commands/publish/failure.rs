//! Exit codes of publishing.

use echkit::error::ErrorKind;
use echkit_server::PublishError;

use crate::failure::Failure;

impl From<PublishError> for Failure {
    fn from(error: PublishError) -> Self {
        let message = error.to_string();
        match error {
            PublishError::Site(_) | PublishError::Wildcard(_) | PublishError::CheckSetup { .. } => {
                Self::usage(message)
            }
            PublishError::LookUp { .. }
            | PublishError::NoServerAddress(_)
            | PublishError::NoZone { .. }
            | PublishError::NothingToCheck { .. } => Self::of_kind(ErrorKind::Name, message),
            PublishError::Io { error, .. } if error.kind() == std::io::ErrorKind::TimedOut => {
                Self::of_kind(ErrorKind::Timeout, message)
            }
            PublishError::Io { .. } => Self::of_kind(ErrorKind::Connect, message),
            PublishError::Lagging { .. } => Self::of_kind(ErrorKind::Timeout, message),
            PublishError::NotAccepted { error, .. } => Self::of_kind(error.kind(), message),
            PublishError::Malformed { .. } => Self::content(message),
            PublishError::History { .. } => Self::read(message),
            _ => Self::check(message),
        }
    }
}
