//! Sends many simulated events to a receiver: number, rate and corruption.

use std::time::Duration;

use futures_util::{StreamExt, stream};
use indexmap::IndexMap;
use serde_json::Value;
use url::Url;

use super::corrupt::{Corruption, CorruptionError, corrupt, signed_at};
use super::sample::{SimulateRequest, simulate};
use super::send::{TimedResponse, WebhookSender};
use crate::clock::{self, Clock, Stopwatch};
use crate::connector::{Connector, EventConfirmation, Pointer};
use crate::error::Result;
use crate::hex;
use crate::http::HttpError;
use crate::runtime::{Workspace, update_sandbox_state};
use crate::signing::request::WebhookRequest;
use crate::signing::sign::{EmulatorKeys, proof_for};
use crate::signing::verify::{ParsedRequest, SigningContext};
use crate::webhook::handle::confirm::params;
use crate::webhook::inbound::event;

/// Maximum number of concurrent requests at a given rate.
const MAX_CONCURRENT: usize = 64;

/// A number to begin with.
pub fn random_start() -> u64 {
    // Vendors' numbers of this kind fit 31 bits.
    u64::from(u32::from_ne_bytes(clock::random::<4>()) >> 2) + 1
}

/// What is to be sent.
pub struct Burst<'a> {
    pub connector: &'a Connector,
    pub keys: &'a SigningContext,
    pub vendor: &'a EmulatorKeys,
    pub event: &'a str,
    /// Where it goes.
    pub to: &'a Url,
    /// What the vendor would call, where the signature covers that.
    pub signed_url: &'a Url,
    pub set: &'a [(Pointer, Value)],
    pub data: Option<&'a [u8]>,
    pub count: u64,
    /// The number of the first; no two commands should begin with the same, for some vendors' ids are such numbers.
    pub first_number: u64,
    /// Requests per second; one after another if absent.
    pub rate: Option<f64>,
    pub corruption: Option<Corruption>,
    /// Where the emulated vendor remembers what it sends; absent where it is none.
    pub sandbox: Option<&'a Workspace>,
}

/// One request that was sent.
#[derive(Debug)]
pub struct SentRequest {
    /// From 1; the second of a pair of duplicates has the first's.
    pub number: u64,
    pub delivery_id: Option<String>,
    pub response: Result<TimedResponse, HttpError>,
}

/// A request with its event.
#[derive(Clone, Debug)]
pub struct SimulatedRequest {
    pub request: WebhookRequest,
    pub delivery_id: Option<String>,
}

impl Burst<'_> {
    /// One request of it.
    ///
    /// # Errors
    /// Requests that cannot be made, and faults that no receiver could notice.
    pub async fn build(&self, number: u64, clock: &Clock) -> Result<SimulatedRequest> {
        let now = clock.now_millis();
        let id = hex::encode(&clock::random::<16>());
        let mut options = SimulateRequest {
            event: self.event,
            url: self.signed_url.as_str(),
            number: self.first_number.saturating_add(number - 1),
            id: &id,
            set: self.set,
            data: self.data,
            now,
            signed_at: None,
        };
        let mut request = simulate(self.connector, &options, self.keys, self.vendor)?;
        let Some(rules) = &self.connector.webhook else { return Ok(SimulatedRequest { request, delivery_id: None }) };
        let document = event::document(&rules.event, &request).unwrap_or_default();
        if let Some(fault) = self.corruption.filter(|fault| fault.should_be_rejected()) {
            let proof = proof_for(&rules.proofs, &request, &document, self.keys);
            options.signed_at = signed_at(fault, proof, &self.connector.id, now)?;
            if options.signed_at.is_some() {
                request = simulate(self.connector, &options, self.keys, self.vendor)?;
            }
            self.record_sent(&request).await?;
            let proof = proof.ok_or_else(|| CorruptionError::NotSigned(self.connector.id.clone()))?;
            let items = event::items(&rules.event, &document).unwrap_or_default();
            corrupt(fault, proof, &mut request, items.first().unwrap_or(&document));
        }
        if self.corruption.is_none_or(|fault| !fault.should_be_rejected()) {
            self.record_sent(&request).await?;
        }
        let delivery_id = {
            let items = event::items(&rules.event, &document).unwrap_or_default();
            let judged = ParsedRequest { request: &request, document: &document, items: &items };
            items.first().map(|item| event::parse_event(&rules.event, &judged, 0, item, now).delivery_id)
        };
        Ok(SimulatedRequest { request, delivery_id })
    }

    /// Lets the emulated vendor remember an event that it may be asked about.
    async fn record_sent(&self, request: &WebhookRequest) -> Result<()> {
        let confirm = self.connector.webhook.as_ref().and_then(|rules| Some((rules, rules.confirm.as_ref()?)));
        let (Some(workspace), Some((rules, confirm))) = (self.sandbox, confirm) else { return Ok(()) };
        let Ok(document) = event::document(&rules.event, request) else { return Ok(()) };
        let items = event::items(&rules.event, &document).unwrap_or_default();
        let judged = ParsedRequest { request, document: &document, items: &items };
        let sent: Vec<_> = items
            .iter()
            .filter_map(|item| {
                let asked = EventConfirmation { values: IndexMap::new(), ..confirm.clone() };
                Some((params(&asked, &judged, item, &self.keys.values).ok()?, item.clone()))
            })
            .collect();
        update_sandbox_state(workspace.store_or_new().await?, &self.connector.id, |state| {
            sent.iter().cloned().for_each(|(params, event)| state.record_sent_event(params, event));
        })
        .await
    }

    /// Sends all of it; `sink` gets each answer in the order of sending.
    ///
    /// # Errors
    /// What cannot be made; that nobody answers is part of each.
    pub async fn send_all(
        &self,
        sender: &WebhookSender,
        clock: &Clock,
        mut sink: impl FnMut(&SentRequest) -> Result<()>,
    ) -> Result<()> {
        let started = Stopwatch::start();
        let times = if self.corruption == Some(Corruption::Duplicate) { 2 } else { 1 };
        let requests = stream::iter(1..=self.count).map(|number| async move {
            if let Some(rate) = self.rate {
                #[expect(clippy::cast_precision_loss, reason = "too many events")]
                let due = Duration::try_from_secs_f64((number - 1) as f64 / rate).unwrap_or(Duration::MAX);
                tokio::time::sleep(due.saturating_sub(started.elapsed())).await;
            }
            let made = self.build(number, clock).await?;
            let mut requests = Vec::new();
            for _ in 0..times {
                let answer = sender.send(self.to, &made.request).await;
                requests.push(SentRequest { number, delivery_id: made.delivery_id.clone(), response: answer });
            }
            Ok::<_, crate::error::Error>(requests)
        });
        let mut requests = std::pin::pin!(requests.buffered(if self.rate.is_some() { MAX_CONCURRENT } else { 1 }));
        while let Some(requests) = requests.next().await {
            for request in &requests? {
                sink(request)?;
            }
        }
        Ok(())
    }
}
