-- commit_portrait: id, unit, entry, digest, warnings (JSON, '' for none).
-- The appearance was SET before; without it the worker must SET it again.
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
if A[5] ~= '' then
  local warnings = cjson.decode(redis.call('HGET', job.key, 'warnings') or '[]')
  for _, warning in ipairs(cjson.decode(A[5])) do warnings[#warnings + 1] = warning end
  redis.call('HSET', job.key, 'warnings', cjson.encode(warnings))
end
clear(job, A[2])
advance(job)
return 'done'
