//! Files beside pilots over WASM. What is in them is sealed, and there is much of it: calls are not
//! recorded.

use super::computing::Backend;
use crate::{
    bindings::{
        host::spinor::host::types,
        spool::{SpoolPre, exports::spinor::spool::files as wit},
    },
    call::{self, Calling},
    capabilities::tape::Tape,
    state::HostState,
};
use async_trait::async_trait;
use spinor_model::policy::{PolicyError, Spool, SpoolFile};
use wasmtime::Store;

/// The interface that a backend exports if it carries files.
pub const HOOK: &str = "spinor:spool/files@0.1.0";

fn wit_file(file: &SpoolFile) -> wit::File {
    wit::File { pilot: file.pilot.as_ref().map(ToString::to_string), name: file.name.clone() }
}

/// A file of a pilot whose stamp is none is nobody's.
fn file(listed: wit::Listed) -> Option<(SpoolFile, u64)> {
    let pilot = listed.file.pilot.map(|stamp| stamp.parse()).transpose().ok()?;
    Some((SpoolFile { pilot, name: listed.file.name }, listed.size))
}

impl Backend {
    async fn carry<T: Send>(
        &self,
        what: &'static str,
        call: impl for<'a> FnOnce(
            SpoolPre<HostState>,
            String,
            &'a mut Store<HostState>,
        ) -> Calling<'a, Result<T, types::Error>>
        + Send,
    ) -> Result<T, PolicyError> {
        let bond = &self.bond;
        let none = || bond.broken("it carries no files".to_owned());
        let (pre, settings) = (self.spool.clone().ok_or_else(none)?, bond.settings.clone());
        let mut state = bond.state();
        state.tape = Tape::Off;
        let carrying = call::effectful(&bond.engine, state, &bond.limits, what, move |store| {
            call(pre, settings, store)
        });
        let (answer, _) = carrying.await;
        bond.noted(0, answer)?.map_err(|error| bond.answer(error))
    }
}

#[async_trait]
impl Spool for Backend {
    async fn list(&self) -> Result<Vec<(SpoolFile, u64)>, PolicyError> {
        let listing = self.carry("list", |pre, settings, store| {
            Box::pin(async move {
                let instance = pre.instantiate_async(&mut *store).await?;
                instance.spinor_spool_files().call_list(store, &settings).await
            })
        });
        Ok(listing.await?.into_iter().filter_map(file).collect())
    }

    async fn read(&self, file: &SpoolFile, offset: u64, max: u32) -> Result<Vec<u8>, PolicyError> {
        let file = wit_file(file);
        let reading = self.carry("read", move |pre, settings, store| {
            Box::pin(async move {
                let instance = pre.instantiate_async(&mut *store).await?;
                let spool = instance.spinor_spool_files();
                spool.call_read(store, &settings, &file, offset, max).await
            })
        });
        reading.await
    }

    async fn write(
        &self,
        file: &SpoolFile,
        offset: u64,
        content: Vec<u8>,
    ) -> Result<(), PolicyError> {
        let file = wit_file(file);
        let writing = self.carry("write", move |pre, settings, store| {
            Box::pin(async move {
                let instance = pre.instantiate_async(&mut *store).await?;
                let spool = instance.spinor_spool_files();
                spool.call_write(store, &settings, &file, offset, &content).await
            })
        });
        writing.await
    }

    async fn remove(&self, file: &SpoolFile) -> Result<(), PolicyError> {
        let file = wit_file(file);
        let removing = self.carry("remove", move |pre, settings, store| {
            Box::pin(async move {
                let instance = pre.instantiate_async(&mut *store).await?;
                instance.spinor_spool_files().call_remove(store, &settings, &file).await
            })
        });
        removing.await
    }
}
