package runtimes

import (
	"context"
	"log/slog"
	"net/http"
	"slices"
	"strings"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"

	"triad/internal/evidence"
	"triad/internal/load"
	"triad/internal/observe/connect"
	"triad/internal/observe/elastic"
	"triad/internal/observe/pods"
	"triad/internal/observe/scrape"
	"triad/internal/pod"
	"triad/internal/scenario"
)

// Session is one run as a runtime needs to know it.
type Session struct {
	Scenario *scenario.Scenario
	Run      uint32 // number of the run in record tags
	Dir      string // scratch folder of the run, for files of models; it is removed when nothing failed
	Logger   *slog.Logger
	Step     func(what, state, detail string) // progress: state begin, done, failed
	// GoesOn: the run began before, and its harness was killed. What was made for it is there, and stays until Generate has taken it up, so
	// that a run that cannot go on at the moment can be tried again.
	GoesOn bool
	// Sabotage is set by the self-test only.
	Sabotage *Sabotage
}

// Sabotage are hooks for the self-test. Judging never sees them.
type Sabotage struct {
	// Generator may change a record before it is sent; see load.Config.
	Generator func(r *load.Record) (times int)
	// Produce may change what a forwarder produces: it returns the records to send in its place.
	Produce func(r *kgo.Record) []*kgo.Record
	// Document may change a document on its way into the store: how often to index it (0: acknowledge and forget).
	Document func(index, id string, doc []byte) (out []byte, times int)
}

// Runtime brings systems up and down.
type Runtime interface {
	// Name is embedded, kind or eks.
	Name() string
	// Up brings up what is missing. Calling it again is cheap.
	Up(ctx context.Context, s Session) error
	// Connect starts what belongs to one run and returns its environment, which the caller closes.
	Connect(ctx context.Context, s Session) (Env, error)
	// CollectLogs writes logs and events of everything below dir.
	CollectLogs(ctx context.Context, dir string) error
	// Down removes everything that Up made.
	Down(ctx context.Context) error
}

// Rejoiner is a Runtime whose systems and generators outlive the harness.
type Rejoiner interface {
	// Rejoin takes the place of Up in a run that goes on: it heals what the harness that was killed left broken, says what that was, and
	// takes the systems as they are. Nothing is deployed.
	Rejoin(ctx context.Context, s Session) (healed []string, err error)
}

// Env is a system under test during one run. Faults ask it for the capabilities that package fault declares.
type Env interface {
	Describe() Description
	Kafka() KafkaAccess
	Search() elastic.Access
	Targets() []Target
	Prometheus() *PrometheusAccess // nil when there is none
	// Generate starts the load; the schedule begins at p.Start.
	Generate(ctx context.Context, p LoadPlan) (Generation, error)
	Close(ctx context.Context) error
}

// ObserverPods is an Env that made pods which read for the harness, because the scenario asks for observers. Where there are none, the harness
// reads itself.
type ObserverPods interface {
	Observers() []pod.Remote // of Kafka
	Readers() []pod.Remote   // of the store, at the end
}

// Budgeter is an Env in which the system under test shares the processors of the harness, and which can measure what a
// record costs there. Budget measures for a fraction of a second, with the system up and before anything is sent.
type Budgeter interface {
	Budget(ctx context.Context) ([]evidence.StageCost, error)
}

// Description is what the report must say about a system.
type Description struct {
	Components  []evidence.Component
	Reduced     []string // what real components lack here
	NotModelled []string
	Limits      []string
	Buffers     []evidence.Buffer
	Metrics     *evidence.MetricsPath
	// Manifests are the objects of each cluster, as YAML, without the values of Secrets.
	Manifests map[string][]byte
	// InProcess says what of the system lies in the memory of the harness's own process; empty: nothing.
	InProcess string
	// HeadStart is how long before the start of the schedule Generate is called: what it takes to tell every generator
	// its plan.
	HeadStart time.Duration
	// Unseen is what cannot be looked at here. Each is skipped in the report, with the reason; a check of that name is not judged.
	Unseen []Unseen
}

// NotReal says in one line what of the system is not the real thing, for the start of a run; components of several clusters are named once.
func (d Description) NotReal() string {
	var out []string
	for _, f := range []struct{ fidelity, words string }{{evidence.Model, "models"}, {evidence.StandIn, "stand-ins"}, {evidence.Absent, "absent"}} {
		var names []string
		for _, c := range d.Components {
			if c.Fidelity == f.fidelity && !slices.Contains(names, c.Name) {
				names = append(names, c.Name)
			}
		}
		if names != nil {
			out = append(out, f.words+": "+strings.Join(names, ", "))
		}
	}
	if d.Reduced != nil {
		out = append(out, "lacking: "+strings.Join(d.Reduced, ", "))
	}
	if out == nil {
		return "nothing: every component is the real program"
	}
	return strings.Join(out, "; ")
}

// Unseen is something that a run would look at elsewhere.
type Unseen struct{ What, Why string }

// KafkaAccess says how the brokers are reached by the harness.
type KafkaAccess struct {
	Brokers    []string
	Opts       []kgo.Opt
	DeadLetter string // empty: it may not be read
	SinkGroup  string // empty: its lag may not be seen
	// Only are the topics that may be read at all, and the indices of the same names; nil: all that there are. Opening another one is an error.
	Only []string
}

// PrometheusAccess says how the central Prometheus is queried.
type PrometheusAccess struct {
	URL    string
	Client *http.Client
}

// ClockReading is how a cluster's clock stands to the harness's: its own is ahead by Offset, give or take Bound.
type ClockReading struct {
	Cluster       string
	Offset, Bound time.Duration
	Sees          bool  // it is by this clock that records are seen in Kafka, and not by the harness's
	Err           error // it is not known
}

// Clocked is an Env whose clusters have clocks of their own.
type Clocked interface {
	Clocks(ctx context.Context) []ClockReading
}

// Purged is what became of a run's records when they were taken out of the system.
type Purged struct {
	Removed, Left uint64        // documents; Left was found when the store was read again
	Late          uint64        // acknowledged records that were not there to be taken out
	Kept, Keeps   time.Duration // how long Kafka keeps the records, 0: not known; and how long at most is declared
	Why           string        // what is not known, and why
}

// Purger is an Env in which a run must leave nothing behind.
type Purger interface {
	// Purge takes out what the run has put in. whole: it ran to its end, so nothing more is coming.
	Purge(ctx context.Context, acknowledged uint64, whole bool) (Purged, error)
}

// Arrived is how far the records of a run have come.
type Arrived struct {
	Acknowledged, InKafka uint64
	// Due is how many of those in Kafka were due before a moment.
	Due func(before time.Time) uint64
}

// Guarded is an Env that others depend on, and that must be let go as soon as it suffers.
type Guarded interface {
	// Guard watches until ctx ends, or until the run has to be given up: then the error says why. saw is the worst that was seen; empty: it
	// did not watch.
	Guard(ctx context.Context, arrived func() Arrived) (saw string, err error)
}

// ConnectWorkers is implemented by an Env whose Kafka Connect can be asked for the state of its connectors.
type ConnectWorkers interface{ ConnectWorkers() []connect.Worker }

// PodLister is an Env whose components run in pods. Pods says how those of each cluster are listed.
type PodLister interface{ Pods() map[string]pods.List }

// GrafanaAccess says how Grafana is asked.
type GrafanaAccess struct {
	URL            string
	Client         *http.Client
	User, Password string
}

// Dashboarder is an environment that may have a Grafana.
type Dashboarder interface {
	Grafana() *GrafanaAccess // nil when there is none
}

// Target is one metrics endpoint with the client that reaches it.
type Target struct {
	scrape.Target
	Client *http.Client
	Every  time.Duration // between two readings; 0: a second
	// Locate, where the endpoint may be another one's in time, says where it is now; it is asked when the endpoint does not answer.
	Locate func(ctx context.Context) (url string, err error)
}

// CPUReading is the processor time that a part of the system has used since some fixed moment; parts as
// evidence.CPUTotalSeries names them.
type CPUReading struct {
	Part, Cluster string
	Used          time.Duration
}

// LoadPlan is the load of a run.
type LoadPlan struct {
	Start    time.Time
	Evidence *evidence.Writer
	Pulse    *evidence.Pulse
	// GoesOn: the generators outlived the harness, and are left alone.
	GoesOn bool
	// Struck are the names of the faults that act at present; generators say so in their metrics.
	Struck func() []string
}

// Generation is a load under way.
type Generation interface {
	// Wait returns when every record of the schedule has its outcome, or ctx ends; then what was due is dropped.
	Wait(ctx context.Context) error
	Progress() load.Progress
	// Collect brings ledgers that lie elsewhere into the evidence.
	Collect(ctx context.Context, w *evidence.Writer) error
}
