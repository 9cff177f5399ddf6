package accounts

import (
	"fmt"

	"github.com/registryusers/registryusers"
)

// Page is a part of a list in the order of ids.
type Page struct {
	Limit  int64 // 1 or more: how many rows at most
	Offset int64 // 0 or more: how many rows come before the page
	After  int64 // if it is not 0, the page begins after this id, and Offset is ignored
}

// MaxPage is the most rows of a page.
const MaxPage = 1000

// withLimits returns the page with a limit from 1 to [MaxPage]. A limit of 0, or of more
// than MaxPage, means MaxPage. ErrInvalid: a number is negative.
func (p Page) withLimits() (Page, error) {
	if p.Limit < 0 || p.Offset < 0 || p.After < 0 {
		return p, fmt.Errorf("%w: limit and offset must be 0 or more", registryusers.ErrInvalid)
	}
	if p.Limit == 0 || p.Limit > MaxPage {
		p.Limit = MaxPage
	}
	return p, nil
}

// readPages returns all rows of a list, which it reads page by page.
func readPages[T any](read func(Page) ([]T, int64, error), id func(T) int64) (all []T, err error) {
	for page := (Page{Limit: MaxPage}); ; page.After = id(all[len(all)-1]) {
		rows, _, err := read(page)
		if all = append(all, rows...); err != nil || len(rows) < MaxPage {
			return all, err
		}
	}
}
