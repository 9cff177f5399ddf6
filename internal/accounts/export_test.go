package accounts

import (
	"context"
	"strconv"
)

// UpdateOnce sets whether a user may only pull, at most once for an idempotency key,
// and reports whether the call was repeated: a second operation on [doOnce].
func UpdateOnce(ctx context.Context, s *Service, caller APIKey, ref RegistryRef, userID int64, idempotencyKey string, readOnly bool) (u User, isRepeat bool, err error) {
	request := s.idempotentRequest(caller, "update user", ref, idempotencyKey, strconv.FormatInt(userID, 10)+" "+strconv.FormatBool(readOnly))
	u, err = doOnce(ctx, s, request, s.clock(),
		func(r *IdempotencyRecord) (User, error) {
			return s.store.UpdateUser(ctx, ref, userID, func(u *User) error { u.ReadOnly = readOnly; return nil }, r)
		},
		func(r IdempotencyRecord) (User, error) {
			isRepeat = true
			account, err := s.store.Account(ctx, r.ObjectID)
			return account.User, err
		})
	return u, isRepeat, err
}
