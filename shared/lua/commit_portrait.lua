-- commit_portrait: id, unit, entry, digest. The appearance was SET before; without it the worker must SET it again.
local job = load_job(A[1])
if not job or not is_active(job, 'portrait') or not holds(job, A[2], A[3]) then
  release(KEYS[1], A[3])
  return 'skipped'
end
local appearance = P .. 'portrait:' .. A[4]
if redis.call('EXISTS', appearance) == 0 then return 'again' end
release(KEYS[1], A[3])
redis.call('EXPIRE', appearance, int(L.appearance_ttl_s))
job.portrait_ready = 1
redis.call('HSET', job.key, 'portrait_ready', '1', 'progress_at', now())
clear(job, A[2])
advance(job)
return 'done'
