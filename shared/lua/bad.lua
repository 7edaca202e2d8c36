-- bad: entry, reason. An entry that cannot be decoded becomes a dead letter, once.
local acked = release(KEYS[1], A[1])
if acked == 1 then dead_letter('', '', KEYS[1], A[1], A[2]) end
return acked
