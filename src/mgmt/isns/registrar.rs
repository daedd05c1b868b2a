//! The model at the iSNS server: attribute `iSNSServer` and what follows from it.

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};

use log::error;

use crate::mgmt::isns::client::{Target, Timing};
use crate::mgmt::isns::shell::{Host, Shell, Wanted};
use crate::model::Model;

/// Keeps an iSNS server informed of a model. No thread runs before a server is configured.
pub struct Registrar {
    model: Weak<Model>,
    timing: Timing,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    shell: Option<Shell>,
    is_stopped: bool,
}

struct ModelHost(Weak<Model>);

impl Host for ModelHost {
    fn wanted(&self) -> Option<Wanted> {
        wanted(&*self.0.upgrade()?)
    }

    fn allow(&self, server: &str, target: &str, initiators: Vec<String>) {
        if let Some(model) = self.0.upgrade() {
            model.set_registered_initiators(server, target, BTreeSet::from_iter(initiators));
        }
    }
}

/// Enabled targets, as names are told to initiators.
fn wanted(model: &Model) -> Option<Wanted> {
    let configuration = model.configuration();
    let driver = &configuration.driver;
    let (server, access_control) = driver.isns_server.clone()?;
    let enabled = configuration.targets.values().filter(|target| driver.enabled && target.enabled);
    let own = |target: &Arc<crate::model::target::TargetObject>| Target {
        name: target.name.to_ascii_lowercase(),
        alias: target.alias.clone(),
    };
    Some(Wanted {
        server,
        entity: driver.isns_entity_name.clone(),
        portals: model.portals(),
        targets: enabled.map(own).collect(),
        access_control,
    })
}

impl Registrar {
    /// From now on follows the configuration of `model`.
    pub fn attach(model: &Arc<Model>, timing: Timing) -> Arc<Registrar> {
        let own = Arc::new(Registrar { model: Arc::downgrade(model), timing, state: Mutex::default() });
        let registrar = Arc::clone(&own);
        model.watch(move || registrar.look());
        own.look();
        own
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn look(&self) {
        let Some(model) = self.model.upgrade() else { return };
        let mut state = self.state();
        if let Some(shell) = &state.shell {
            return shell.look();
        }
        if state.is_stopped || model.configuration().driver.isns_server.is_none() {
            return;
        }
        match Shell::start(Arc::new(ModelHost(self.model.clone())), self.timing) {
            Ok(shell) => state.shell = Some(shell),
            Err(error) => error!("iSNS: no thread: {error}"),
        }
    }

    /// Follows the configuration again after [`Registrar::stop`].
    pub fn start(&self) {
        self.state().is_stopped = false;
        self.look();
    }

    /// Withdraws the registration, if the server answers soon. The configuration is followed no more.
    pub fn stop(&self) {
        let shell = {
            let mut state = self.state();
            state.is_stopped = true;
            state.shell.take()
        };
        if let Some(shell) = shell {
            shell.stop();
        }
    }
}
