//! What others see of a run: monitoring and probes over HTTP, a service manager through its socket.

mod health;
mod http;
mod pulse;
mod service;

use std::net::SocketAddr;

use metrics_exporter_prometheus::PrometheusHandle;
use spillring::{Publisher, RawEntry};

use crate::console::{Problem, errln};
use health::Health;
use http::{Listener, Server};
use pulse::Pulse;
use service::Service;

/// What must be ready before the publisher starts: the address is taken, and the recorder hears the first report.
#[derive(Debug)]
pub(super) struct Watch {
    listening: Option<(Listener, PrometheusHandle)>,
    pulse: Pulse,
}

/// Those who watch a run, until this is dropped.
#[derive(Debug)]
pub(super) struct Watched {
    health: Health,
    service: Option<Service>,
    /// Serves until it is dropped.
    _server: Option<Server>,
}

impl Watch {
    /// Takes the address, if there is one, and starts to record.
    pub(super) fn prepare(listen: Option<SocketAddr>) -> Result<Self, Problem> {
        let pulse = Pulse::default();
        let Some(address) = listen else {
            if service::is_there() {
                pulse::record(&pulse, None)?;
            }
            return Ok(Self {
                listening: None,
                pulse,
            });
        };
        let listener = Listener::bind(address)?;
        let exporter = http::exporter()?;
        let handle = exporter.handle();
        pulse::record(&pulse, Some(exporter))?;
        Ok(Self {
            listening: Some((listener, handle)),
            pulse,
        })
    }

    /// The publisher has started.
    pub(super) fn start(self, publisher: Publisher<RawEntry>) -> Result<Watched, Problem> {
        let health = Health::new(publisher, self.pulse);
        let server = self
            .listening
            .map(|(listener, handle)| {
                let address = listener.address();
                let server = listener.serve(health.clone(), handle)?;
                errln!("serving /metrics, /healthz and /readyz on http://{address}");
                Ok(server)
            })
            .transpose()?;
        Ok(Watched {
            service: Service::start(health.clone())?,
            health,
            _server: server,
        })
    }
}

impl Watched {
    /// Nothing more is published.
    pub(super) fn stopping(&self) {
        self.health.stopping();
        if let Some(service) = &self.service {
            service.stopping();
        }
    }
}
