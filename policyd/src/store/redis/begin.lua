-- Which reign this is: since when this Redis has lost nothing. A new one begins where there is none (it was
-- emptied) and where the server did not know a script (it was restarted, or another has taken over), for what it
-- holds may then be less than its hosts know.
--
-- The hosts do not ask it about counters before all of them have given back what they remember, or ten seconds
-- have passed.
--
-- KEYS: the reign, who has given back. ARGV: the reign that the asker knows or nothing; 1 where the server did
-- not know a script; the asker's name; how many hosts it has seen; 1 where it has given back all to the reign it
-- knows, 2 where it has nothing to give.
-- Answer: the reign, and whether counters may be asked about: 0|1.
local stamp = redis.call('TIME')
local sec = tonumber(stamp[1])
local known, strange, name, seen, given = ARGV[1], ARGV[2] == '1', ARGV[3], tonumber(ARGV[4]), ARGV[5]
local reign = redis.call('GET', KEYS[1]) or ''
local born = tonumber(string.match(reign, '^(%d+)%.%d+$'))
-- Of several hosts that find a server strange, one is the first; who has just come cannot know.
if not born or (strange and (reign == known or (known == '' and sec >= born + 5))) then
  reign, born = string.format('%s.%06d', stamp[1], tonumber(stamp[2])), sec
  redis.call('SET', KEYS[1], reign)
  redis.call('DEL', KEYS[2])
end
if given == '2' or (given == '1' and reign == known) then
  redis.call('HSET', KEYS[2], name, seen)
  redis.call('EXPIRE', KEYS[2], 3600)
end
local all, hosts, most = redis.call('HGETALL', KEYS[2]), 0, 1
for at = 2, #all, 2 do
  hosts, most = hosts + 1, math.max(most, tonumber(all[at]) or 1)
end
local open = hosts >= most or math.abs(sec - born) >= 10
return { reign, open and 1 or 0 }
