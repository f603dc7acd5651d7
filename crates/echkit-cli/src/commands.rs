//! One module for each command.

pub(crate) mod cache;
pub(crate) mod capture;
pub(crate) mod check;
pub(crate) mod convert;
pub(crate) mod decode;
pub(crate) mod demo;
mod descriptors;
pub(crate) mod explain;
pub(crate) mod generate;
pub(crate) mod get;
pub(crate) mod grade;
mod hook;
pub(crate) mod keygen;
pub(crate) mod lookup;
pub(crate) mod network;
mod nginx_include;
mod proxies;
pub(crate) mod publish;
pub(crate) mod records;
pub(crate) mod rotate;
pub(crate) mod route;
pub(crate) mod serve;
pub(crate) mod testbed;
pub(crate) mod trace;
pub(crate) mod zone;
