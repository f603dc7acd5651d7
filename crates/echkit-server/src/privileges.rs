//! Giving up root, once what only root may do is done.

use std::ffi::CString;
use std::fmt;

use nix::errno::Errno;
use nix::unistd::{Gid, Group, Uid, User, geteuid, initgroups, setgid, setuid};

/// A user and a group that a server becomes after it has bound its ports.
///
/// ```no_run
/// use echkit_server::ServiceUser;
///
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let user = ServiceUser::find("www-data", None)?;
/// let listener = std::net::TcpListener::bind("[::]:443")?;
/// user.become_it()?;
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ServiceUser {
    name: String,
    uid: Uid,
    gid: Gid,
}

impl ServiceUser {
    /// Looks a user up; its group is `group`, or else the one that the system has for it.
    ///
    /// # Errors
    ///
    /// When there is no such user or group, or this process may not become it.
    pub fn find(user: &str, group: Option<&str>) -> Result<Self, ServiceUserError> {
        let wrong = |what: String| ServiceUserError(what);
        let system = |error: Errno| wrong(format!("user {user}: cannot be looked up: {error}"));
        let found = User::from_name(user).map_err(system)?.ok_or_else(|| {
            wrong(format!(
                "user {user}: there is none; make it, or name another"
            ))
        })?;
        let gid = match group {
            None => found.gid,
            Some(group) => {
                let found = Group::from_name(group).map_err(system)?;
                let missing = || {
                    wrong(format!(
                        "group {group}: there is none; make it, or name another"
                    ))
                };
                found.ok_or_else(missing)?.gid
            }
        };
        if !geteuid().is_root() && geteuid() != found.uid {
            return Err(wrong(format!(
                "user {user}: only root can become another user; start as root, or leave the user out"
            )));
        }
        Ok(Self {
            name: user.to_owned(),
            uid: found.uid,
            gid,
        })
    }

    /// Becomes this user, in all threads, for good. Nothing happens where this process is it already.
    ///
    /// # Errors
    ///
    /// When the system refuses. End the process then: it may have given up a part.
    pub fn become_it(&self) -> Result<(), ServiceUserError> {
        if !geteuid().is_root() || self.uid.is_root() {
            return Ok(());
        }
        let failed = |error: Errno| {
            ServiceUserError(format!("user {}: cannot become it: {error}", self.name))
        };
        let name = CString::new(self.name.as_str())
            .map_err(|_| ServiceUserError(format!("user {:?}: not a name", self.name)))?;
        initgroups(&name, self.gid).map_err(failed)?;
        setgid(self.gid).map_err(failed)?;
        setuid(self.uid).map_err(failed)?;
        match setuid(Uid::from_raw(0)) {
            Err(_) => Ok(()),
            Ok(()) => Err(ServiceUserError(format!(
                "user {}: root could be regained, so it was not given up",
                self.name
            ))),
        }
    }

    /// Its name.
    pub fn name(&self) -> &str {
        &self.name
    }
}

/// A user that a process cannot become.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ServiceUserError(String);

impl fmt::Display for ServiceUserError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for ServiceUserError {}
