//! Monitoring: metrics and probes over HTTP, and notifications to the service manager.

mod health;
mod http;
mod pulse;
mod service;

use std::net::SocketAddr;

use metrics_exporter_prometheus::PrometheusHandle;
use spillring::{Publisher, RawEntry};

use crate::console::{Problem, errln};
use health::RunHealth;
use http::{HttpServer, Listener};
use pulse::Pulse;
use service::Service;

/// Prepared before the publisher starts: the address is bound, and the recorder gets the first report.
#[derive(Debug)]
pub(super) struct Watch {
    listening: Option<(Listener, PrometheusHandle)>,
    pulse: Pulse,
}

/// The running monitors. Dropping it stops them.
#[derive(Debug)]
pub(super) struct Monitors {
    health: RunHealth,
    service: Option<Service>,
    /// Serves until it is dropped.
    _server: Option<HttpServer>,
}

impl Watch {
    /// Binds the address, if there is one, and installs the recorder.
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

    /// Starts the monitors of this publisher.
    pub(super) fn start(self, publisher: Publisher<RawEntry>) -> Result<Monitors, Problem> {
        let health = RunHealth::new(publisher, self.pulse);
        let server = self
            .listening
            .map(|(listener, handle)| {
                let address = listener.address();
                let server = listener.serve(health.clone(), handle)?;
                errln!("serving /metrics, /healthz and /readyz on http://{address}");
                Ok(server)
            })
            .transpose()?;
        Ok(Monitors {
            service: Service::start(health.clone())?,
            health,
            _server: server,
        })
    }
}

impl Monitors {
    /// Reports that the run is stopping.
    pub(super) fn stopping(&self) {
        self.health.stopping();
        if let Some(service) = &self.service {
            service.stopping();
        }
    }
}
