// A fan-out server as Pion's own examples are written: WHIP in at /PATH/whip, WHEP out at
// /PATH/whep, a goroutine that copies each track of a publisher to its viewers, one that reads each
// viewer's RTCP, and what Pion itself starts for a peer. What Kvill is measured against.
//
//	pion [-http 127.0.0.1:0] [-udp 127.0.0.1:0] [-no-aead]
//
// Prints where it listens, and ends by SIGTERM.
package main

import (
	"context"
	"crypto/rand"
	"errors"
	"flag"
	"fmt"
	"io"
	"log"
	"net"
	"net/http"
	"os/signal"
	"sync"
	"syscall"
	"time"

	"github.com/pion/dtls/v3"
	"github.com/pion/ice/v4"
	"github.com/pion/interceptor"
	"github.com/pion/rtcp"
	"github.com/pion/webrtc/v4"
)

// What Kvill asks for, too; the system may grant less.
const socketBufferLen = 4 << 20

// Between two requests for a keyframe: many viewers who join at once share one.
const keyframePause = 500 * time.Millisecond

// A publisher, and what viewers need of it.
type publisher struct {
	pc *webrtc.PeerConnection
	// How many tracks its offer has.
	offered int
	// Holds a word while somebody waits for a keyframe.
	keyframe chan struct{}
	mu       sync.Mutex
	tracks   []*webrtc.TrackLocalStaticRTP
}

type server struct {
	api        *webrtc.API
	mu         sync.Mutex
	publishers map[string]*publisher
	sessions   map[string]*webrtc.PeerConnection
}

func main() {
	httpAddress := flag.String("http", "127.0.0.1:0", "address for HTTP")
	udpAddress := flag.String("udp", "127.0.0.1:0", "address for media; empty: a socket for each peer")
	noAEAD := flag.Bool("no-aead", false, "SRTP by AES128_CM_HMAC_SHA1_80 alone")
	flag.Parse()
	ended, _ := signal.NotifyContext(context.Background(), syscall.SIGTERM, syscall.SIGINT)

	api, err := newAPI(*udpAddress, *noAEAD)
	if err != nil {
		log.Fatal(err)
	}
	s := &server{
		api:        api,
		publishers: map[string]*publisher{},
		sessions:   map[string]*webrtc.PeerConnection{},
	}
	mux := http.NewServeMux()
	mux.HandleFunc("POST /{path}/whip", s.whip)
	mux.HandleFunc("POST /{path}/whep", s.whep)
	mux.HandleFunc("DELETE /{path}/{kind}/{id}", s.delete)
	listener, err := net.Listen("tcp", *httpAddress)
	if err != nil {
		log.Fatal(err)
	}
	go func() { log.Fatal(http.Serve(listener, fromAnywhere(mux))) }()
	fmt.Printf("listening on http://%s\n", listener.Addr())
	<-ended.Done()
}

// What webrtc.NewPeerConnection would use, but for one socket that all peers share, and no sockets
// for mDNS.
func newAPI(udpAddress string, noAEAD bool) (*webrtc.API, error) {
	media := &webrtc.MediaEngine{}
	if err := media.RegisterDefaultCodecs(); err != nil {
		return nil, err
	}
	interceptors := &interceptor.Registry{}
	if err := webrtc.RegisterDefaultInterceptors(media, interceptors); err != nil {
		return nil, err
	}
	settings := webrtc.SettingEngine{}
	settings.SetICEMulticastDNSMode(ice.MulticastDNSModeDisabled)
	settings.SetIncludeLoopbackCandidate(true)
	if noAEAD {
		settings.SetSRTPProtectionProfiles(dtls.SRTP_AES128_CM_HMAC_SHA1_80)
	}
	if udpAddress != "" {
		socket, err := net.ListenPacket("udp", udpAddress)
		if err != nil {
			return nil, err
		}
		if udp, ok := socket.(*net.UDPConn); ok {
			if err := errors.Join(udp.SetReadBuffer(socketBufferLen), udp.SetWriteBuffer(socketBufferLen)); err != nil {
				return nil, err
			}
		}
		settings.SetICEUDPMux(webrtc.NewICEUDPMux(nil, socket))
	}
	return webrtc.NewAPI(
		webrtc.WithMediaEngine(media),
		webrtc.WithInterceptorRegistry(interceptors),
		webrtc.WithSettingEngine(settings),
	), nil
}

// Lets pages of any origin in.
func fromAnywhere(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		header := w.Header()
		header.Set("Access-Control-Allow-Origin", "*")
		header.Set("Access-Control-Allow-Methods", "POST, DELETE")
		header.Set("Access-Control-Allow-Headers", "Authorization, Content-Type")
		header.Set("Access-Control-Expose-Headers", "Location")
		if r.Method == http.MethodOptions {
			w.WriteHeader(http.StatusNoContent)
			return
		}
		next.ServeHTTP(w, r)
	})
}

func (s *server) whip(w http.ResponseWriter, r *http.Request) {
	pc, err := s.api.NewPeerConnection(webrtc.Configuration{})
	if err != nil {
		http.Error(w, err.Error(), http.StatusInternalServerError)
		return
	}
	p := &publisher{pc: pc, keyframe: make(chan struct{}, 1)}
	pc.OnTrack(func(remote *webrtc.TrackRemote, _ *webrtc.RTPReceiver) { p.forward(remote) })
	if !s.negotiate(w, r, pc) {
		return
	}
	p.mu.Lock()
	p.offered = len(pc.GetTransceivers())
	p.mu.Unlock()
	s.mu.Lock()
	former := s.publishers[r.PathValue("path")]
	s.publishers[r.PathValue("path")] = p
	s.mu.Unlock()
	if former != nil {
		_ = former.pc.Close()
	}
	s.accept(w, r, pc, func() {})
}

// Copies a track to all viewers, until the publisher leaves.
func (p *publisher) forward(remote *webrtc.TrackRemote) {
	local, err := webrtc.NewTrackLocalStaticRTP(remote.Codec().RTPCodecCapability, remote.Kind().String(), "stream")
	if err != nil {
		log.Print(err)
		return
	}
	p.mu.Lock()
	p.tracks = append(p.tracks, local)
	p.mu.Unlock()
	if remote.Kind() == webrtc.RTPCodecTypeVideo {
		gone := make(chan struct{})
		defer close(gone)
		go p.askForKeyframes(remote.SSRC(), gone)
	}
	for {
		packet, _, err := remote.ReadRTP()
		if err != nil {
			return
		}
		// Their numbers are the publisher's, and mean something else to a viewer.
		packet.Extension, packet.Extensions = false, nil
		if err := local.WriteRTP(packet); err != nil && !errors.Is(err, io.ErrClosedPipe) {
			log.Print(err)
		}
	}
}

func (p *publisher) askForKeyframes(ssrc webrtc.SSRC, gone <-chan struct{}) {
	for {
		select {
		case <-gone:
			return
		case <-p.keyframe:
			_ = p.pc.WriteRTCP([]rtcp.Packet{&rtcp.PictureLossIndication{MediaSSRC: uint32(ssrc)}})
			time.Sleep(keyframePause)
		}
	}
}

func (p *publisher) wantKeyframe() {
	select {
	case p.keyframe <- struct{}{}:
	default:
	}
}

func (s *server) whep(w http.ResponseWriter, r *http.Request) {
	s.mu.Lock()
	p := s.publishers[r.PathValue("path")]
	s.mu.Unlock()
	if p == nil {
		http.Error(w, "nobody is live here", http.StatusNotFound)
		return
	}
	p.mu.Lock()
	tracks, isComplete := p.tracks, len(p.tracks) == p.offered
	p.mu.Unlock()
	if !isComplete {
		http.Error(w, "the publisher has not sent all its tracks yet", http.StatusNotFound)
		return
	}
	pc, err := s.api.NewPeerConnection(webrtc.Configuration{})
	if err != nil {
		http.Error(w, err.Error(), http.StatusInternalServerError)
		return
	}
	for _, track := range tracks {
		sender, err := pc.AddTrack(track)
		if err != nil {
			_ = pc.Close()
			http.Error(w, err.Error(), http.StatusInternalServerError)
			return
		}
		go readRTCP(sender, p)
	}
	if s.negotiate(w, r, pc) {
		s.accept(w, r, pc, p.wantKeyframe)
	}
}

// Nothing that a viewer reports is handled unless it is read; its PLI goes on to the publisher.
func readRTCP(sender *webrtc.RTPSender, p *publisher) {
	for {
		packets, _, err := sender.ReadRTCP()
		if err != nil {
			return
		}
		for _, packet := range packets {
			switch packet.(type) {
			case *rtcp.PictureLossIndication, *rtcp.FullIntraRequest:
				p.wantKeyframe()
			}
		}
	}
}

// Takes the offer of a request, and makes the answer with all candidates. A connection whose offer
// is refused is closed.
func (s *server) negotiate(w http.ResponseWriter, r *http.Request, pc *webrtc.PeerConnection) bool {
	gathered := webrtc.GatheringCompletePromise(pc)
	offer, err := io.ReadAll(http.MaxBytesReader(w, r.Body, 1<<17))
	if err == nil {
		err = pc.SetRemoteDescription(webrtc.SessionDescription{Type: webrtc.SDPTypeOffer, SDP: string(offer)})
	}
	var answer webrtc.SessionDescription
	if err == nil {
		answer, err = pc.CreateAnswer(nil)
	}
	if err == nil {
		err = pc.SetLocalDescription(answer)
	}
	if err != nil {
		_ = pc.Close()
		http.Error(w, err.Error(), http.StatusBadRequest)
		return false
	}
	<-gathered
	return true
}

// Gives the answer, under a new session.
func (s *server) accept(w http.ResponseWriter, r *http.Request, pc *webrtc.PeerConnection, connected func()) {
	id := rand.Text()
	s.mu.Lock()
	s.sessions[id] = pc
	s.mu.Unlock()
	pc.OnConnectionStateChange(func(state webrtc.PeerConnectionState) {
		switch state {
		case webrtc.PeerConnectionStateConnected:
			connected()
		case webrtc.PeerConnectionStateFailed:
			s.end(id)
		}
	})
	w.Header().Set("Content-Type", "application/sdp")
	w.Header().Set("Location", r.URL.Path+"/"+id)
	w.WriteHeader(http.StatusCreated)
	_, _ = io.WriteString(w, pc.LocalDescription().SDP)
}

func (s *server) delete(w http.ResponseWriter, r *http.Request) {
	if !s.end(r.PathValue("id")) {
		http.Error(w, "no such session", http.StatusNotFound)
	}
}

func (s *server) end(id string) bool {
	s.mu.Lock()
	pc := s.sessions[id]
	delete(s.sessions, id)
	for path, p := range s.publishers {
		if p.pc == pc {
			delete(s.publishers, path)
		}
	}
	s.mu.Unlock()
	if pc == nil {
		return false
	}
	return pc.Close() == nil
}
