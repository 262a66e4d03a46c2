package brokers

import (
	"encoding/json"
	"os"
	"path/filepath"
	"testing"
	"time"
)

// recording is one fault done to three real brokers several times over; testdata/real/README.md explains its fields.
type recording struct {
	Fault       string            `json:"fault"`
	Kafka       string            `json:"kafka"`
	Date        string            `json:"date"`
	Cores       int               `json:"cores"`
	SessionMS   int64             `json:"session_ms"`
	HeartbeatMS int64             `json:"heartbeat_ms"`
	PollMS      int64             `json:"poll_ms"`
	Rate        int               `json:"records_per_s_and_partition"`
	Settings    map[string]string `json:"settings"`
	Runs        []recordedRun     `json:"runs"`
}

// recordedRun is one repetition. Times count from the fault.
type recordedRun struct {
	Load       float64        `json:"load1"` // load average of the machine when it began
	LongestGap int64          `json:"longest_poll_gap_ms"`
	Controller int            `json:"controller"`
	Victims    []int          `json:"victims"`
	Partitions []recordedPart `json:"partitions"` // before the fault
	Events     []recordedStep `json:"events"`
	Produced   int            `json:"produced"`
	Acked      int            `json:"acked"`
	Errors     map[string]int `json:"errors,omitempty"` // final outcomes of the retrying producer
	Probe      map[string]int `json:"probe"`            // outcomes of single acks=all requests to a surviving leader
}

type recordedPart struct {
	Replicas  []int `json:"replicas"`
	Leader    int   `json:"leader"`
	GapMS     int64 `json:"gap_ms"`     // longest time without an acknowledgement
	SlowestMS int64 `json:"slowest_ms"` // from produced to acknowledged
}

type recordedStep struct {
	AtMS   int64 `json:"at_ms"`
	What   What  `json:"what"`
	Broker int   `json:"broker"`
}

// Events of recordings that the machine does not emit: what single acks=all requests to a surviving leader get.
const (
	probeOK      What = "acks=all acknowledged"
	probeTimeout What = "acks=all times out"
	probeRefused What = "acks=all refused"
	probeOther   What = "acks=all without an answer"
)

// deed is something that is done to a broker in a fault.
type deed struct {
	at     time.Duration // after the fault; processEnded: when the process has ended
	do     What          // Killed, ShutdownBegun, StartBegun
	victim int           // index into the victims
}

const processEnded time.Duration = -1

// timelineFault is one fault that is recorded and replayed.
type timelineFault struct {
	name string
	// controller: the active controller is the victim, else others, which lead partitions as it does.
	controller bool
	deeds      []deed
}

// timelineFaults is the catalogue: what the recorder does and the replay repeats. A broker that stays down does so until
// its session, and that which a new controller gives it, are over.
func timelineFaults(session time.Duration) []timelineFault {
	over, twoDown := session+6*time.Second, 12*time.Second
	return []timelineFault{
		{"kill-leader", false, []deed{{0, Killed, 0}, {over, StartBegun, 0}}},
		{"kill-controller", true, []deed{{0, Killed, 0}, {over, StartBegun, 0}}},
		{"kill-restart", false, []deed{{0, Killed, 0}, {500 * time.Millisecond, StartBegun, 0}}},
		{"shutdown-restart", false, []deed{{0, ShutdownBegun, 0}, {processEnded, StartBegun, 0}}},
		{"shutdown-controller", true, []deed{{0, ShutdownBegun, 0}, {processEnded, StartBegun, 0}}},
		{"two-killed", false, []deed{{0, Killed, 0}, {0, Killed, 1}, {twoDown, StartBegun, 0}, {twoDown, StartBegun, 1}}},
	}
}

func recordingFile(fault string, session time.Duration) string {
	return filepath.Join("testdata", "real", fault+"-"+session.String()+".json")
}

func readRecording(t *testing.T, file string) recording {
	t.Helper()
	b, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	var r recording
	if err := json.Unmarshal(b, &r); err != nil {
		t.Fatalf("%s: %v", file, err)
	}
	return r
}
