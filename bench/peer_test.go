package main

import "testing"

func TestPeersDoWhatIsMeasured(t *testing.T) {
	for _, p := range peers {
		if p.handler == nil {
			continue
		}
		t.Run(p.name, func(t *testing.T) {
			h, err := p.handler()
			if err == nil {
				err = p.check(h)
			}
			if err != nil {
				t.Error(err)
			}
		})
	}
}
