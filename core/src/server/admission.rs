//! Requests become sessions, or refusals.

use std::net::IpAddr;
use std::time::Instant;

use crate::control::{Control, Credentials};
use crate::egress::{LaneConfig, RtxConfig};
use crate::fingerprint::{Fingerprint, Hash};
use crate::ids::{self, RequestId, SessionId};
use crate::ingest::{Asking, Extensions, Ingest, Published};
use crate::media::{Codec, MediaKind};
use crate::net::Routes;
use crate::server::Server;
use crate::server::handshake::Handshake;
use crate::server::sessions::{Peer, Publisher, Session, Viewer};
use crate::signal::answer::{self, Local, Source, Sources};
use crate::signal::offer::Offer;
use crate::signal::policy::{self, DtlsRole, Plan, TrackPlan};
use crate::signal::refusal::Refusal;
use crate::signal::respond::{self, Created};
use crate::signal::route::{Action, Routed, route};
use crate::signal::{Request, Response, Role};
use crate::stats::EndReason;
use crate::stream::path::Path;
use crate::stream::track::Track;

/// How many undelivered responses are remembered with their sessions. A driver has fewer requests
/// under way.
const UNDELIVERED_MAX: usize = 1024;

/// What a session is asked for with.
struct Wish<'a> {
    path: &'a str,
    query: Option<&'a str>,
    peer: IpAddr,
    offer: &'a Offer,
    plan: &'a Plan,
}

impl Server {
    pub(super) fn admit(&mut self, now: Instant, id: RequestId, request: &Request) -> Response {
        let Routed { action, envelope } = route(&self.config, request);
        let peer = request.peer.ip();
        let response = match action {
            Action::Respond(response) => Ok(response),
            Action::Refuse(refusal) => Err(refusal),
            Action::List => Ok(self.list_paths()),
            Action::Publish {
                path,
                query,
                offer,
                plan,
            } => self.admit_publisher(
                now,
                id,
                &Wish {
                    path: &path,
                    query: query.as_deref(),
                    peer,
                    offer: &offer,
                    plan: &plan,
                },
            ),
            Action::View { path, query, offer } => {
                self.admit_viewer(now, id, &path, query.as_deref(), peer, &offer)
            }
            Action::Delete { role, path, secret } => self.delete(now, role, &path, &secret),
            Action::Patch {
                role,
                path,
                secret,
                wish,
            } => self
                .named(role, &path, &secret)
                .and_then(|id| self.patch(id, peer, wish?)),
        };
        envelope.finish(response.unwrap_or_else(|refusal| {
            self.note_refusal(now, request, &refusal);
            respond::refused(&refusal)
        }))
    }

    fn admit_publisher(
        &mut self,
        now: Instant,
        request: RequestId,
        wish: &Wish<'_>,
    ) -> Result<Response, Refusal> {
        if !self.may_take_over(wish.path) {
            return Err(Refusal::PublisherExists(wish.path.to_owned()));
        }
        let (id, credentials) = self.prepare(wish)?;
        let answer = answer::publish(wish.offer, wish.plan, &self.local(wish, &credentials));
        let (tracks, extensions) = published(wish.plan, wish.offer);
        let asking = self.asking();
        let ingest = Ingest::new(
            now,
            &self.shared,
            &credentials,
            tracks,
            extensions,
            self.config.report_interval,
            asking,
        )
        .map_err(|reason| Refusal::Internal(reason.to_string()))?;
        let peer = Peer::Publisher(Box::new(Publisher { ingest, path: None }));
        Ok(self.settle(now, request, id, wish, peer, answer))
    }

    /// How a publisher is asked for what is missing.
    fn asking(&mut self) -> Asking {
        Asking {
            ssrc: self.rng.u32(),
            cname: ids::cname(&mut self.rng)
                .as_bytes()
                .try_into()
                .unwrap_or_default(),
            window: self.config.history.window(),
        }
    }

    fn admit_viewer(
        &mut self,
        now: Instant,
        request: RequestId,
        path_name: &str,
        query: Option<&str>,
        peer: IpAddr,
        offer: &Offer,
    ) -> Result<Response, Refusal> {
        let path = self
            .paths
            .live(path_name)
            .ok_or_else(|| Refusal::NoStream(path_name.to_owned()))?;
        let path_id = path.id;
        let plan = Self::plan_view(path, offer)?;
        let wish = Wish {
            path: path_name,
            query,
            peer,
            offer,
            plan: &plan,
        };
        let (id, credentials) = self.prepare(&wish)?;
        let cname = ids::cname(&mut self.rng);
        let (video, audio) = self.sources();
        let sources = Sources {
            cname: &cname,
            video,
            audio,
        };
        let answer = answer::view(offer, &plan, &self.local(&wish, &credentials), &sources);
        let lanes = plan
            .tracks()
            .map(|track| self.lane(track, &sources))
            .collect();
        let viewer = Viewer {
            path: path_id,
            control: Control::new(now, &self.shared, credentials),
            lanes,
            reduced_reports: plan.reduced_rtcp(offer),
            cname: cname.as_bytes().try_into().unwrap_or_default(),
        };
        Ok(self.settle(
            now,
            request,
            id,
            &wish,
            Peer::Viewer(Box::new(viewer)),
            answer,
        ))
    }

    /// By what the stream is. If that is more than the viewer offers to decode, by what its
    /// publisher announced: encoders that announce Baseline and send High are common, and so are
    /// players that offer Baseline and decode High.
    fn plan_view(path: &Path, offer: &Offer) -> Result<Plan, Refusal> {
        let audio = path.audio.as_ref().map(Track::codec);
        let plan = |video: Option<&Codec>| policy::view(offer, video, audio);
        let announced = path.video.as_ref().map(Track::announced);
        let video = path.video.as_ref().map(Track::codec);
        plan(video).or_else(|refusal| {
            let mut plan = plan(announced).map_err(|_| refusal)?;
            if let (Some(track), Some(codec)) = (&mut plan.video, video) {
                track.fmtp = track.fmtp.as_deref().map(|fmtp| codec.answered(fmtp));
            }
            Ok(plan)
        })
    }

    /// Sources that all differ (RFC 3550 §8.1).
    fn sources(&mut self) -> (Source, Source) {
        let mut drawn: heapless::Vec<u32, 4> = heapless::Vec::new();
        while !drawn.is_full() {
            let ssrc = self.rng.u32();
            if !drawn.contains(&ssrc) {
                let _ = drawn.push(ssrc);
            }
        }
        let mut drawn = drawn.into_iter();
        let mut source = || Source {
            ssrc: drawn.next().unwrap_or_default(),
            rtx_ssrc: drawn.next().unwrap_or_default(),
        };
        (source(), source())
    }

    /// What was negotiated for one track of a viewer.
    fn lane(&mut self, track: &TrackPlan, sources: &Sources<'_>) -> LaneConfig {
        let source = match track.kind {
            MediaKind::Video => sources.video,
            MediaKind::Audio => sources.audio,
        };
        LaneConfig {
            kind: track.kind,
            payload_type: track.payload_type,
            ssrc: source.ssrc,
            first_index: self.rng.u16(),
            nack: track.feedback.nack,
            rtx: track.rtx_payload_type.map(|payload_type| RtxConfig {
                payload_type,
                ssrc: source.rtx_ssrc,
                first_index: self.rng.u16(),
            }),
        }
    }

    /// What every session begins with: an id, credentials, and the checks that there is room.
    fn prepare(&mut self, wish: &Wish<'_>) -> Result<(SessionId, Credentials), Refusal> {
        if self.shutting_down.is_some() {
            return Err(Refusal::ShuttingDown);
        }
        if self.candidates.for_peer(wish.peer).addresses.is_empty() {
            return Err(Refusal::NoCandidates);
        }
        let full = Refusal::TooManySessions(self.config.sessions_max);
        let id = self.room().ok_or(full)?;
        let remote = &wish.plan.remote;
        // str0m, which checks publishers, knows SHA-256; everybody sends that one.
        let usable = |f: &&Fingerprint| wish.plan.role == Role::View || f.hash == Hash::Sha256;
        let fingerprint = remote
            .fingerprints
            .iter()
            .find(usable)
            .ok_or(Refusal::NoFingerprint)?;
        let credentials = Credentials {
            local_ufrag: ids::ufrag(id, &mut self.rng),
            local_password: ids::ice_password(&mut self.rng),
            remote_ufrag: remote.ufrag.clone(),
            remote_password: remote.pwd.clone(),
            fingerprint: fingerprint.clone(),
            active: wish.plan.dtls == DtlsRole::Client,
        };
        Ok((id, credentials))
    }

    /// The id of the next session, if there may be one more.
    pub(super) fn room(&self) -> Option<SessionId> {
        self.sessions
            .next_id()
            .filter(|_| self.sessions.len() < self.config.sessions_max)
    }

    fn local<'a>(&'a mut self, wish: &Wish<'_>, credentials: &'a Credentials) -> Local<'a> {
        Local {
            session_id: self.rng.u64() >> 1,
            ufrag: &credentials.local_ufrag,
            pwd: &credentials.local_password,
            fingerprint: &self.fingerprint,
            candidates: &self.candidates.for_peer(wish.peer).lines,
        }
    }

    /// Takes the session in, and tells its client where it is.
    fn settle(
        &mut self,
        now: Instant,
        request: RequestId,
        id: SessionId,
        wish: &Wish<'_>,
        peer: Peer,
        answer: String,
    ) -> Response {
        let session = Session {
            id,
            uuid: ids::uuid(&mut self.rng),
            resource: ids::resource(id, &mut self.rng),
            path_name: wish.path.to_owned(),
            since: now,
            handshake: Some(Box::new(Handshake::new(
                now,
                self.config.handshake_timeout,
                self.candidates.for_peer(wish.peer).addresses.clone(),
            ))),
            by_selected: true,
            last_heard: None,
            routes: Routes::default(),
            peer,
        };
        tracing::debug!(
            "session {} of {}: {} wanted",
            session.uuid,
            session.path_name,
            session.role()
        );
        let created = Created {
            role: session.role(),
            path: wish.path,
            query: wish.query,
            secret: &session.resource,
            id: &session.uuid,
            ufrag: session
                .ice()
                .map_or("", |ice| ice.names().local_ufrag.as_str()),
        };
        let response = respond::created(&created, answer, &self.config.ice_servers);
        self.sessions.insert(session);
        if self.undelivered.len() >= UNDELIVERED_MAX {
            self.undelivered.pop_front();
        }
        self.undelivered.push_back((request, id));
        self.drive(now, id);
        response
    }

    fn delete(
        &mut self,
        now: Instant,
        role: Role,
        path: &str,
        secret: &str,
    ) -> Result<Response, Refusal> {
        let id = self.named(role, path, secret)?;
        let handshake = self.sessions.get(id).and_then(|s| s.handshake.as_ref());
        let long = handshake.filter(|handshake| handshake.is_long(now));
        let failed = long.map(|handshake| handshake.unfinished());
        let reason = failed.clone().map_or(EndReason::Deleted, EndReason::GaveUp);
        self.retire(now, id, &reason);
        Ok(respond::deleted(failed.as_ref()))
    }

    /// The session that a URL names.
    fn named(&self, role: Role, path: &str, secret: &str) -> Result<SessionId, Refusal> {
        let named = ids::session_of_resource(secret).and_then(|id| self.sessions.get(id));
        let own = named.filter(|s| {
            ids::same_secret(&s.resource, secret) && s.role() == role && s.path_name == path
        });
        let path = || path.to_owned();
        match (own, self.endings.reason(secret)) {
            (Some(session), _) => Ok(session.id),
            (None, Some(reason)) => Err(Refusal::Ended {
                role,
                path: path(),
                reason: reason.clone(),
            }),
            (None, None) => Err(Refusal::NoSession { role, path: path() }),
        }
    }
}

/// What the plan for a publisher means for its ingest.
fn published(plan: &Plan, offer: &Offer) -> (Vec<Published>, Extensions) {
    let mut extensions = Extensions::default();
    let tracks = plan
        .tracks()
        .map(|track| {
            extensions.mid = extensions.mid.or(track.mid_id);
            extensions.transport_cc = extensions.transport_cc.or(track.transport_cc_id);
            Published {
                codec: track.codec.clone(),
                mid: track.mid.clone(),
                payload_type: track.payload_type,
                rtx_payload_type: track.rtx_payload_type,
                ssrc: track.ssrc,
                rtx_ssrc: track.rtx_ssrc,
                nack: track.feedback.nack,
                reduced_size: offer
                    .sections
                    .get(track.m_line)
                    .is_some_and(|section| section.rtcp_rsize),
                pli: track.feedback.nack_pli,
                fir: track.feedback.ccm_fir,
                transport_cc: track.feedback.transport_cc,
            }
        })
        .collect();
    (tracks, extensions)
}
