//! A client's ICE restart, as a browser does it: a new offer is made, of which only the ICE half is
//! told, and the answer is the old one with the ICE half that came back.

use std::net::SocketAddr;
use std::time::Instant;

use str0m::Candidate;
use str0m::change::SdpAnswer;

use super::Client;

impl Client {
    /// Begins an ICE restart and gives the fragment to PATCH. Until
    /// [`accept_restart`](Self::accept_restart) everything goes on as it was.
    ///
    /// # Panics
    ///
    /// If the client has no media.
    pub fn restart(&mut self) -> String {
        let mut changes = self.rtc.sdp_api();
        let credentials = changes.ice_restart(false);
        let (_, pending) = changes.apply().expect("a restart is to be offered");
        self.pending = Some(pending);
        let (media, mid) = match (self.video_mid, self.audio_mid) {
            (Some(mid), _) => ("video", mid),
            (None, Some(mid)) => ("audio", mid),
            (None, None) => panic!("a client has media"),
        };
        let (ip, port) = (self.local.ip(), self.local.port());
        [
            &format!("a=ice-ufrag:{}\r\n", credentials.ufrag),
            &format!("a=ice-pwd:{}\r\n", credentials.pass),
            &format!("m={media} 9 UDP/TLS/RTP/SAVPF 0\r\na=mid:{mid}\r\n"),
            &format!("a=candidate:1 1 udp 2130706175 {ip} {port} typ host\r\n"),
            "a=end-of-candidates\r\n",
        ]
        .concat()
    }

    /// Takes the other side's half of a restart. Says what is wrong with one that str0m refuses.
    ///
    /// # Panics
    ///
    /// If no restart was begun.
    pub fn accept_restart(&mut self, now: Instant, fragment: &str) -> Result<(), String> {
        let pending = self.pending.take().expect("a restart that was begun");
        let told = |key: &str| fragment.lines().find(|line| line.starts_with(key));
        let mut answer = String::new();
        for line in self.answer.lines() {
            let key = ["a=ice-ufrag:", "a=ice-pwd:"]
                .into_iter()
                .find(|key| line.starts_with(key));
            answer.push_str(key.and_then(told).unwrap_or(line));
            answer.push_str("\r\n");
        }
        let parsed = SdpAnswer::from_sdp_string(&answer).map_err(|e| e.to_string())?;
        self.rtc
            .sdp_api()
            .accept_answer(pending, parsed)
            .map_err(|e| e.to_string())?;
        self.answer = answer;
        let candidate = Candidate::host(self.local, "udp").expect("a host address");
        self.rtc.add_local_candidate(candidate);
        self.drain(now);
        Ok(())
    }

    /// Is elsewhere from now on. What it sends by its old address is lost.
    pub fn roam(&mut self, local: SocketAddr) {
        self.local = local;
    }
}
