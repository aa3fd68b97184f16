//! Tokens, keys, and who may do what.
//!
//! A [`subject::Subject`] is whoever calls: an operator, a member of a VO, a pilot, or a job. It
//! comes out of a token that [`token::Keys`] signed. What it may do is one table, in [`access`].

pub mod access;
pub mod entitlement;
mod file;
mod jws;
mod kept;
pub mod keys;
pub mod provider;
pub mod proxy;
pub mod scope;
pub mod seal;
pub mod secret;
pub mod session;
pub mod signature;
pub mod subject;
pub mod token;
