//! What was published last, and what was there before: for a rollback.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use data_encoding::HEXLOWER;
use echkit_proto::svcb::DomainName;
use serde::{Deserialize, Serialize};

use crate::key_directory::{KeyAccess, write_whole};

use super::error::PublishError;
use super::rrset::HttpsRrset;

const VERSION: u32 = 1;

/// One change of the HTTPS records of a name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Publication {
    /// What was there.
    pub before: HttpsRrset,
    /// What took its place.
    pub after: HttpsRrset,
}

/// The last change of the HTTPS records of a name, in a file. What is about to be sent is noted
/// before it is sent, so that a program that is killed in between loses nothing.
#[derive(Clone, Debug)]
pub struct PublishHistory {
    path: PathBuf,
    last: Option<Publication>,
    pending: Option<Publication>,
}

impl PublishHistory {
    /// The name of the file for `owner` in a key directory.
    pub fn file_name(owner: &DomainName) -> String {
        format!("published-{}.json", owner.to_string().to_ascii_lowercase())
    }

    /// Reads the file at `path`, or begins with none.
    ///
    /// # Errors
    ///
    /// When it cannot be read, or is not one of `owner`.
    pub fn open(path: impl Into<PathBuf>, owner: &DomainName) -> Result<Self, PublishError> {
        let path = path.into();
        let wrong = |reason: String| PublishError::History {
            path: path.clone(),
            reason,
        };
        let stored = match fs::read(&path) {
            Ok(text) => {
                let broken = |error: &dyn std::fmt::Display| {
                    wrong(format!(
                        "{error}; delete the file to go on without a way back"
                    ))
                };
                let stored: Stored = serde_json::from_slice(&text).map_err(|e| broken(&e))?;
                if stored.version != VERSION {
                    return Err(broken(&format!("it has version {}", stored.version)));
                }
                if stored.owner.parse().ok().as_ref() != Some(owner) {
                    return Err(wrong(format!(
                        "it is about {}, not {owner}; give another --state file",
                        stored.owner
                    )));
                }
                stored
            }
            Err(error) if error.kind() == io::ErrorKind::NotFound => Stored::default(),
            Err(error) => return Err(wrong(format!("it cannot be read: {error}"))),
        };
        let read = |publication: Option<StoredPublication>| {
            publication
                .map(|stored| {
                    stored
                        .read()
                        .ok_or_else(|| wrong("it is broken".to_owned()))
                })
                .transpose()
        };
        Ok(Self {
            last: read(stored.last)?,
            pending: read(stored.pending)?,
            path,
        })
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Notes a change that is about to be made.
    ///
    /// # Errors
    ///
    /// When the file cannot be written; nothing should be sent then.
    pub fn begin(&mut self, owner: &DomainName, change: Publication) -> Result<(), PublishError> {
        // One that was not finished and was made all the same.
        if let Some(made) = self
            .pending
            .take_if(|pending| pending.after == change.before)
        {
            self.last = Some(made);
        }
        self.pending = Some(change);
        self.save(owner, "nothing was published")
    }

    /// Notes that the change was made.
    ///
    /// # Errors
    ///
    /// When the file cannot be written; a rollback works all the same.
    pub fn finish(&mut self, owner: &DomainName) -> Result<(), PublishError> {
        if let Some(made) = self.pending.take() {
            self.last = Some(made);
        }
        self.save(owner, "the records were published all the same")
    }

    /// The change that led to the records that are there now.
    pub fn that_led_to(&self, current: &HttpsRrset) -> Option<&Publication> {
        let changes = self.pending.iter().chain(&self.last);
        changes.into_iter().find(|change| change.after == *current)
    }

    /// Whether nothing was ever published.
    pub fn is_empty(&self) -> bool {
        self.pending.is_none() && self.last.is_none()
    }

    fn save(&self, owner: &DomainName, so: &str) -> Result<(), PublishError> {
        let stored = Stored {
            version: VERSION,
            owner: owner.to_string(),
            last: self.last.as_ref().map(StoredPublication::of),
            pending: self.pending.as_ref().map(StoredPublication::of),
        };
        // Strings and numbers: nothing in them that JSON cannot hold.
        let mut text = serde_json::to_string_pretty(&stored).unwrap_or_default();
        text.push('\n');
        write_whole(&self.path, text.as_bytes(), KeyAccess::Owner, None).map_err(|error| {
            PublishError::History {
                path: self.path.clone(),
                reason: format!("{error}; {so}"),
            }
        })
    }
}

#[derive(Default, Serialize, Deserialize)]
struct Stored {
    version: u32,
    owner: String,
    last: Option<StoredPublication>,
    pending: Option<StoredPublication>,
}

#[derive(Serialize, Deserialize)]
struct StoredPublication {
    before: StoredRrset,
    after: StoredRrset,
}

#[derive(Serialize, Deserialize)]
struct StoredRrset {
    ttl: u32,
    rdata: Vec<String>,
}

impl StoredPublication {
    fn of(publication: &Publication) -> Self {
        let stored = |rrset: &HttpsRrset| StoredRrset {
            ttl: rrset.ttl(),
            rdata: rrset
                .rdata()
                .iter()
                .map(|rdata| HEXLOWER.encode(rdata))
                .collect(),
        };
        Self {
            before: stored(&publication.before),
            after: stored(&publication.after),
        }
    }

    fn read(self) -> Option<Publication> {
        let read = |stored: StoredRrset| {
            let rdata = stored.rdata.iter();
            let rdata = rdata.map(|hex| HEXLOWER.decode(hex.as_bytes()).ok());
            Some(HttpsRrset::new(stored.ttl, rdata.collect::<Option<_>>()?))
        };
        Some(Publication {
            before: read(self.before)?,
            after: read(self.after)?,
        })
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn change(before: u8, after: u8) -> Publication {
        let rrset = |octet: u8| HttpsRrset::new(60, vec![vec![0, 1, 0, octet]]);
        Publication {
            before: rrset(before),
            after: rrset(after),
        }
    }

    #[test]
    fn a_change_that_was_not_made_keeps_the_way_back_of_the_one_before() {
        let folder = tempfile::tempdir().unwrap();
        let owner: DomainName = "A.example".parse().unwrap();
        let path = folder.path().join(PublishHistory::file_name(&owner));
        let open = || PublishHistory::open(&path, &owner).unwrap();
        assert!(open().is_empty());
        let mut history = open();
        history.begin(&owner, change(1, 2)).unwrap();
        history.finish(&owner).unwrap();
        // Noted, and never made.
        open().begin(&owner, change(2, 3)).unwrap();
        assert_eq!(
            open().that_led_to(&change(2, 3).before),
            Some(&change(1, 2))
        );
        // Made, and the program was killed before it could say so.
        assert_eq!(open().that_led_to(&change(2, 3).after), Some(&change(2, 3)));
        open().begin(&owner, change(3, 4)).unwrap();
        assert_eq!(open().that_led_to(&change(2, 3).after), Some(&change(2, 3)));
        assert_eq!(open().that_led_to(&change(1, 2).after), None);
        let other = PublishHistory::open(&path, &"b.example".parse().unwrap());
        assert!(other.unwrap_err().to_string().contains("--state"));
    }
}
