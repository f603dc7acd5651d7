//! Deployments that the testbed does not have: servers that are configured wrongly or stand behind
//! a middlebox, and zones of their own. Each has exactly the findings that are due.

#![allow(clippy::unwrap_used)]

mod hostile;
mod origin_svcb;
mod pages;
mod sessions;
mod site;
mod tls;
mod zones;
