//! How many connections a server holds at the same time, altogether and for each client address.

use std::collections::HashMap;
use std::net::{IpAddr, Ipv6Addr};
use std::sync::{Arc, Mutex, PoisonError};

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// Bounds on connections at the same time: altogether, and for each client address.
///
/// Where the total is reached, further clients wait in the queue of the operating system; an
/// address that has as many connections as it may is refused more, so that one client cannot take
/// all of them. The addresses of an IPv6 /64 count as one, and IPv4 addresses in IPv6 form as what
/// they are. Clones share the counts.
///
/// ```
/// # tokio::runtime::Runtime::new()?.block_on(async {
/// use echkit_server::ConnectionLimits;
/// use tokio::net::TcpListener;
///
/// let limits = ConnectionLimits::new(1024, 64);
/// let listener = TcpListener::bind("127.0.0.1:0").await?;
/// # let _client = tokio::net::TcpStream::connect(listener.local_addr()?).await?;
/// let slot = limits.slot().await;
/// let (stream, client) = listener.accept().await?;
/// if let Some(admission) = limits.admit(slot, client.ip()) {
///     tokio::spawn(async move {
///         drop(stream); // serve the client here
///         drop(admission); // counts until it is dropped
///     });
/// }
/// # std::io::Result::Ok(())
/// # })?;
/// # std::io::Result::Ok(())
/// ```
#[derive(Clone, Debug)]
pub struct ConnectionLimits {
    slots: Arc<Semaphore>,
    per_address: usize,
    addresses: Arc<Mutex<HashMap<IpAddr, usize>>>,
}

impl ConnectionLimits {
    /// At most `total` connections, and `per_address` from one address; at least one of each.
    pub fn new(total: usize, per_address: usize) -> Self {
        Self {
            slots: Arc::new(Semaphore::new(total.clamp(1, Semaphore::MAX_PERMITS))),
            per_address: per_address.max(1),
            addresses: Arc::default(),
        }
    }

    /// Waits until there is room for one more connection.
    pub async fn slot(&self) -> ConnectionSlot {
        let permit = Arc::clone(&self.slots).acquire_owned().await;
        // The semaphore is never closed.
        ConnectionSlot {
            _permit: permit.ok(),
        }
    }

    /// Takes a connection from this address, or gives the slot back when the address has as many
    /// as it may.
    pub fn admit(&self, slot: ConnectionSlot, address: IpAddr) -> Option<Admission> {
        let address = client_of(address);
        let mut addresses = lock(&self.addresses);
        let count = addresses.entry(address).or_default();
        if *count >= self.per_address {
            return None;
        }
        *count += 1;
        Some(Admission {
            _slot: slot,
            address,
            addresses: Arc::clone(&self.addresses),
        })
    }

    /// How many addresses have connections.
    pub fn addresses(&self) -> usize {
        lock(&self.addresses).len()
    }
}

/// Room for one connection, until it is dropped.
#[derive(Debug)]
pub struct ConnectionSlot {
    _permit: Option<OwnedSemaphorePermit>,
}

/// A connection that counts until this is dropped.
#[derive(Debug)]
pub struct Admission {
    _slot: ConnectionSlot,
    address: IpAddr,
    addresses: Arc<Mutex<HashMap<IpAddr, usize>>>,
}

impl Drop for Admission {
    fn drop(&mut self) {
        let mut addresses = lock(&self.addresses);
        if let Some(count) = addresses.get_mut(&self.address) {
            *count -= 1;
            if *count == 0 {
                addresses.remove(&self.address);
            }
        }
    }
}

/// Counts are whole whatever a thread that held them did.
fn lock(
    addresses: &Mutex<HashMap<IpAddr, usize>>,
) -> std::sync::MutexGuard<'_, HashMap<IpAddr, usize>> {
    addresses.lock().unwrap_or_else(PoisonError::into_inner)
}

/// What counts as one client: an IPv4 address, or the network of an IPv6 address, of which one
/// client has 2^64.
fn client_of(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V6(address) => {
            let network = address.to_bits() >> 64 << 64;
            Ipv6Addr::from_bits(network).into()
        }
        address => address,
    }
}
