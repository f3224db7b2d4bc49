package cli

import (
	"context"
	"errors"
	"time"

	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"

	"github.com/capsign/cap/capsign"
)

// judge says whether signatures count: by the keyring in force where a root is
// pinned or a keyring known; else by the keys alone, unpinned.
type judge struct {
	belief                 // pinned; without a keyring otherwise
	set    *capsign.KeySet // unpinned
	now    time.Time
	flags  *flags
}

// judgement is what is known of a key version that verifies.
type judgement struct {
	key capsign.Key
	// version is the keyring's; 0 where the key is unpinned.
	version uint64
	state   capsign.State
	until   time.Time // T1, of an accepted one
}

// judge returns who says whether signatures count. file may name an exported
// keyring or a set of public keys, then the network is not used; without one the
// broker is asked. Whoever has pinned a root, or known a keyring, never gets an
// unpinned judge.
func (a *app) judge(ctx context.Context, file input) (judge, error) {
	b, err := a.belief()
	if err != nil {
		return judge{}, err
	}
	j := judge{belief: b, flags: &a.flags}
	switch {
	case file.path != "":
		err = j.read(ctx, a, file)
	case b.Pinned():
		err = j.ask(ctx, a)
	default:
		err = j.fetch(ctx, a)
	}
	j.now = j.Now(time.Now().UTC())
	return j, err
}

// fetch takes the public keys on the broker.
func (j *judge) fetch(ctx context.Context, a *app) error {
	set, err := a.fetchKeys(ctx)
	if err != nil {
		return err
	}
	j.set = capsign.NewKeySet(a.flags.narrow(set.Keys())...)
	return nil
}

// ask takes the keyring in force from the broker.
func (j *judge) ask(ctx context.Context, a *app) error {
	nc, err := a.connect(ctx)
	if err != nil {
		return err
	}
	defer nc.Close()
	j.belief, err = j.latest(ctx, nc)
	return err
}

// read takes keyrings or keys from a file.
func (j *judge) read(ctx context.Context, a *app, file input) error {
	data, err := a.read(ctx, file, capsign.MaxChainSize)
	if err != nil {
		return err
	}
	if isChain(data) {
		chain, err := parseChain(data)
		if err != nil {
			return err
		}
		j.belief, err = j.follow(chain)
		return err
	}
	set, err := parseKeySet(data)
	switch {
	case err != nil:
		return err
	case j.Signed != nil: // what the keyring known here says still holds
		j.belief, err = j.moved(j.Signed)
		return err
	case j.Pinned():
		return &fault{
			code: capsign.KeyringMissing, sentence: "A root is pinned here, and --keyring holds public keys alone: that says nothing of rotation.",
			hint: "use a file that 'cap keyring export' made.",
		}
	}
	j.set = set
	return nil
}

// isChain reports whether data looks like exported keyrings rather than keys.
func isChain(data []byte) bool {
	var probe struct {
		Keyrings jsontext.Value `json:"keyrings"`
	}
	return json.Unmarshal(data, &probe) == nil && probe.Keyrings != nil
}

// parseKeySet decodes public keys that were exported.
func parseKeySet(data []byte) (*capsign.KeySet, error) {
	set, err := capsign.ParseKeySet(data)
	if errors.Is(err, capsign.BadRequest) {
		return nil, &fault{
			code: capsign.BadRequest, sentence: "--keyring is neither a keyring nor a JSON Web Key (Set) that cap wrote.",
			hint: "make one with 'cap keyring export --out FILE' or 'cap keys export --format jwks --out FILE'.",
		}
	}
	return set, err
}

// pinned reports whether a keyring says what counts.
func (j judge) pinned() bool { return j.set == nil }

// find returns the key version that goes by id, whatever it may do.
func (j judge) find(id string) (capsign.Key, error) {
	if !j.pinned() {
		return j.set.Key(id)
	}
	key, err := j.Signed.Keyring().Key(id)
	if err == nil && !j.flags.leaves(key) {
		return capsign.Key{}, capsign.KIDUnknown
	}
	return key, err
}

// judge returns what is known of the key version that goes by id. It fails
// where its signatures do not count, with as much as is known of it.
func (j judge) judge(id string) (judgement, error) {
	key, err := j.find(id)
	if !j.pinned() {
		return judgement{key: key}, err
	}
	k := j.Signed.Keyring()
	is := judgement{key: key, version: k.Version}
	state, stateErr := k.State(id, j.now)
	switch {
	case stateErr != nil && codeOf(stateErr) != capsign.KIDUnknown:
		return is, j.explained(stateErr, key.Name)
	case err != nil:
		return is, err
	}
	is.state = state
	switch state {
	case capsign.Active:
		return is, nil
	case capsign.Accepted:
		r, err := k.Rotation(key.Name)
		is.until = r.T1
		return is, err
	}
	return is, j.explained(capsign.KeyRetired, key.Name)
}

// Verify checks that sig is the signature of msg by the key version that goes by
// id, and that it counts now.
func (j judge) Verify(id string, msg, sig []byte) error {
	is, err := j.judge(id)
	if err != nil {
		return err
	}
	return is.key.Verify(msg, sig)
}

// explained returns err with what the keyring says of it, as far as that helps.
func (j judge) explained(err error, name string) error {
	code, k := codeOf(err), j.Signed.Keyring()
	hint := hints[code]
	switch r, _ := k.Rotation(name); {
	case j.behind() != "":
		hint = j.behind()
	case code == capsign.KeyRetired && r.Stage(j.now) == 3:
		hint = "only " + r.Active() + " counts, since " + stamp(r.T1) + "; 'cap rotate status' shows more."
	case code == capsign.KeyringExpired:
		hint = "it was good until " + stamp(k.Expires) + "; a newer one may be on the broker, or its operator has to renew it."
	}
	return &fault{code: code, sentence: code.Sentence(), hint: hint}
}
