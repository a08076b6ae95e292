package bus

import (
	"bytes"
	"encoding/json"
	"testing"

	"github.com/nats-io/nats.go"
)

func TestMessagesOfEverySizeComeTogetherAgain(t *testing.T) {
	for _, size := range []int{0, 1, partSize - 2, partSize - 1, partSize, 3*partSize + 5} {
		want := string(bytes.Repeat([]byte("x"), size))
		msgs, err := split("s", want)
		if err != nil {
			t.Fatal(err)
		}
		var p parts
		for i, m := range msgs {
			whole, err := p.add(m)
			if err != nil {
				t.Fatalf("%d bytes, part %d: %v", size, i, err)
			}
			if (whole != nil) != (i == len(msgs)-1) {
				t.Fatalf("%d bytes: whole after part %d of %d", size, i+1, len(msgs))
			}
			var got string
			if whole != nil && (json.Unmarshal(whole, &got) != nil || got != want) {
				t.Errorf("%d bytes: got %d", size, len(got))
			}
		}
	}
}

func TestLostPartsAreNoticed(t *testing.T) {
	msgs, err := split("s", string(make([]byte, 3*partSize)))
	if err != nil || len(msgs) < 3 {
		t.Fatal(len(msgs), err)
	}
	var p parts
	p.add(msgs[0])
	if _, err := p.add(msgs[2]); err == nil {
		t.Error("a missing part went unnoticed")
	}
	if _, err := p.add(msgs[1]); err == nil {
		t.Error("a part without a beginning was taken")
	}
	// A new message begins where the old one was cut off.
	p.add(msgs[0])
	if whole, err := p.add(&nats.Msg{Data: []byte("{}")}); err != nil || string(whole) != "{}" {
		t.Errorf("the next message: %q, %v", whole, err)
	}
}

func FuzzParts(f *testing.F) {
	f.Add("1/2", "2/2")
	f.Add("2/1", "-1/3")
	f.Fuzz(func(t *testing.T, a, b string) {
		var p parts
		for _, h := range []string{a, b} {
			m := nats.NewMsg("s")
			m.Header.Set(partHeader, h)
			m.Data = []byte("x")
			p.add(m)
		}
		if len(p.data) > 2 {
			t.Errorf("%d bytes of 2", len(p.data))
		}
	})
}

func TestCheckReply(t *testing.T) {
	for reply, ok := range map[string]bool{
		"_INBOX.w1.abc": true, "_INBOX.w1.abc.def": true,
		"": false, "_INBOX.w1": false, "_INBOX.w1.": false, "_INBOX.w1x.a": false, "_INBOX.w2.a": false,
		"orch.to.w1.assign": false, "state.task.x": false, "_INBOX.w1.>": false, "_INBOX.w1.*": false,
	} {
		if err := checkReply("w1", reply); (err == nil) != ok {
			t.Errorf("checkReply(%q): %v, want ok %v", reply, err, ok)
		}
	}
}
