//! What the cases' servers have recorded, for those who hold a testbed.

use echkit::wire::RecordedConnection;

use crate::capture::Served;
use crate::testbed::Testbed;

impl Testbed {
    /// The connections to the cases' servers, oldest first, with what the servers sent: as much as
    /// [`captures`](Self::captures) keeps, in each direction. The label is the case's name.
    pub fn connections(&self) -> Vec<RecordedConnection> {
        self.recorder().connections()
    }

    /// The handshakes that the cases' servers have finished, oldest first, as many as
    /// [`captures`](Self::captures) keeps.
    pub fn served(&self) -> Vec<Served> {
        self.recorder().served()
    }
}
