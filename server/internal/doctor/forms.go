package doctor

import (
	"regexp"
	"strings"
)

// This file reads forms of text that single words do not cover.

// form is a pattern of text that names a cause. It tells more than the single words of words.txt.
type form struct {
	topic  string
	always bool   // it stands for all other topics of the text; else only where no other special one was found
	needs  string // words of which the text has one, in lower case: a quick look before the expression
	re     *regexp.Regexp
}

// forms are tried in order; the first one that fits counts.
var forms = func() []form {
	list := []struct {
		topic     string
		always    bool
		needs, re string
	}{
		{"server-misconfigured", true, "configur backend scheme config readable material directory secret pem pubkey file key", `\b(?:no|missing) (?:auth\w*|identity|log-?in) (?:back-?ends?|schemes?|providers?|realms?)\b|` +
			`\b(?:isn't configured|bad[_ ]config)\b|\b(?:signing|public|verification|shared) (?:key|secret) (?:must be|needs to be|has to be) (?:specified|set|configured|provided|defined)\b|\bno configured (?:[\w-]+ ){1,4}match|\bunsupported protocol scheme\b|^.{0,60}\bmis-?configured\b|\bnot (?:properly|fully|correctly|set-? ?up|configurated)(?: configur\w+| set-? ?up)?\b.{0,20}(?:\bfor\b|,|$)|` +
			`\b(?:no such file or directory|not readable|key material)\b|\blacks? (?:a |the )?(?:jwt )?secret\b|\bsecret or public key must be\b|` +
			`\b(?:pars\w+|invalid|malformed) (?:pub(?:lic)?[ _-]?key|pem|x\.?509)\b|\b(?:could not|cannot|can't|failed to|unable to) (?:open|read|load) (?:\w+ ){0,3}(?:file|certificate bundle|keystore)\b|\bno (?:\w+ )?file was specified\b|` +
			`\b(?:secret|key)\b.{0,60}\b(?:at least|greater than|shorter than|less than|minimum|not secure enough)\b.{0,40}\bbits\b|\bkey byte array is \d+ bits\b|\bhmac key is \d+ bytes long\b|\bprovided key is too short\b`},
		{"ntlm-connection", true, "handshake", `\banonymous request\b.{0,40}\bbetween\b.{0,40}\bhandshake\b`},
		{"account-not-active", true, "expired", `\b(?:user )?account (?:has )?expired\b|\bexpired account\b|\buser expired\b`},
		{"server-store-mangled", true, "bcrypt argon hash passwordencoder htpasswd", `\b(?:bcrypt|argon2|passwordencoder)\b|\bhash (?:is not in|could not be|is not a valid)\b|\bvalid \w+ hash\b|\bhtpasswd encryption\b`},
		{"metadata-missing", true, "registration resource discover metadata oauth", `\b(?:dynamic|automatic) client registration\b|\bprotected resource\b.{0,60}\b(?:match|metadata)\b|\bfailed to discover oauth\b|\bno valid metadata\b|\bdoes not implement oauth\b|\bincompatible auth server\b`},
		{"account-locked", true, "lock brute attempt retr", `\block ?out\b|\bbrute ?force\b|\battempts exceeded\b|\bretry limit\b|\bexcessive attempts\b|\battempt too soon\b|\btoo many retries\b`},
		{"second-factor-owed", true, "tfa 2fa one-time fresh elevated sudo rapt enrol factor", `\b(?:need|needs|requires?|missing) (?:tfa|2fa)\b|\bone-time pass\w*\b|\bnot (?:fresh|elevated)\b|\bsudo[- ]required\b|\brapt\b|\benroll?ment required\b`},
		{"refresh-refused", true, "pkce verifier theft", `\bpkce\b.{0,24}\b(?:failed|invalid|missing|not specified|mismatch)\b|\bcode[_ ]verifier\b.{0,16}\b(?:missing|invalid|is|mismatch)\b|\btoken theft\b`},
		{"oauth-client-refused", true, "redirect", `\b(?:invalid|unregistered|mismatching|mismatched) redirect(?:ion)?[ _]ur[il]\b|\bredirect[ _]ur[il] (?:error|mismatch|is not registered)\b|\bredirect[ _]ur[il]['"]?.{0,40}\b(?:does not|did not|doesn't|must) (?:exactly )?match\b`},
		{"cross-site-refused", true, "csrf xsrf cross forger referer referrer host authenticity", `\b(?:csrf|xsrf)\b.{0,40}\b(?:token|check|fail\w*|invalid|missing|violation|attempt|mismatch\w*|header|protection|rejected)|` +
			`\bcross[ -](?:site|origin)\b.{0,24}\b(?:request|form|post)\b|\bforgery\b|\bhost check error\b|\bhostname (?:verification failed|was unrecogni[sz]ed)\b|\binvalid (?:authenticity token|cross ?origin)|\breferr?er\b.{0,24}\b(?:required|match|missing|check\w*|invalid|polic\w+|denied)`},
		{"clock-wrong", true, "time iat", `\b(?:request |message |query )?time ?stamp\b.{0,24}\b(?:expired|too (?:old|late|early)|out of)|\b(?:time|timestamp) check failed\b|` +
			`\b(?:query|request) (?:is )?out of time\b|\biat\b.{0,40}\b(?:in (?:the )?past|check|validation|prior|before)\b`},
		{"wrong-algorithm", true, "algorithm signed signature unsecured secured hs256 symmetric", `\b(?:un|not )signed\b.{0,24}\b(?:jwts?|tokens?)\b.{0,24}(?:not|reject|$)|\bunsigned (?:\w+ )?token\b|\bunsecured\b.{0,10}\bjwts?\b|'none' signature|` +
			`\balgorithm\b.{0,20}\b(?:does not|doesn't|did not) match\b|\bkey for this algorithm\b|\bmust be an? (?:a)?symmetric key\b|\bexpected configured algorithm\b`},
		{"network-not-allowed", true, "ip network internet endpoint country firewall remote location trusted", `\b(?:untrusted|not (?:from )?a trusted) (?:upstream|proxy|peer|source|client|remote|address|ip|network)\b|\bip (?:white|allow)[- ]?list\w*\b|\bblocked ip\b|\bbanned the country\b|\baccess from this ip\b|\bfrom location:? \d+\.\d+|` +
			`\bpublic (?:network )?access is disabled\b|\bprivate endpoint\b|\bfirewall settings\b|\bnot a verified ip\b|\bauthenticate remotely\b|\bcheck your network settings\b`},
		{"network-not-allowed", true, "machine localhost local", `\b(?:only|allowed|accessible)\b.{0,40}\b(?:from|in|on|within|via) (?:the |your |a )?local[- ](?:network|machine|subnet|area|ip|address\w*)\b|\bonly (?:accessible|available|reachable|allowed) from (?:the )?(?:same (?:machine|host)|local ?host|local (?:machine|network|addresses))\b`},
		{"server-misconfigured", true, "bootstrap disabled", `\bmust be bootstrapped\b|\bservice (?:is )?disabled\b`},
		{"cookie-not-sent", true, "cookie", `\bno\b.{0,90}\b(?:state|correlation|nonce) cookie\b.{0,10}\bfound\b|\b(?:state|correlation|nonce) cookie\b.{0,60}\bnot found\b`},
		{"ambiguous-credentials", true, "simultaneously", `\bauth\w*\b.{0,120}\bsimultaneously\b`},
		{"method-retired", true, "deprecation", `\b(?:endpoint|command|api|version|method)s?[ -]deprecation\b`},
		{"malformed-credentials", true, "parameter field format base64", `\b(?:requires|missing) ["']?(?:signature|credential|signedheaders)["']? (?:parameter|field)\b|\bcredentials are not base64\b`},
		{"organisation-rule", false, "sso saml organi approv forbids", `\b(?:sso|saml|single sign-on)\b.{0,30}\b(?:required|enforced|mandatory|needed)\b|\brequired to (?:sign|log) in (?:with|via|through|using) (?:sso|saml|single)\b|` +
			`\bnot allowed (?:for|by|in) (?:this|your|the) organi[sz]ation\b|\b(?:outside|within) (?:its|your|the) organi[sz]ation\b|\bapproved by (?:an |your |the )?(?:\w+ )?admin|\badmin(?:istrator)?[- ]approv|` +
			`\b(?:hasn't|has not|not) (?:been )?approved (?:this|the|for|by|to)\b|\bforbids access via\b`},
		{"bad-signature", true, "cryptographic", `\berror in cryptographic primitive\b`},
		{"wrong-credential-kind", false, "length characters", `\b(?:key|token|secret)\b.{0,24}\b(?:length (?:of )?\d+,? (?:should|must|but|expected|instead)|(?:must|should|has to) (?:be|have) (?:exactly )?\d+ (?:hex )?(?:characters|digits))\b`},
		{"request-signature-mismatch", true, "signature raw", `\bsignatures?\b.{0,40}\b(?:event payload|for payload|webhook)\b|\bwebhook signature\b.{0,20}\b(?:invalid|fail\w*|mismatch|verif\w+)|\bpassed as the raw\b|\braw request body\b`},
		{"upstream-refused", true, "response indicates upstream uplink error", `\bauth(?:entication|orization)? (?:error|failure) (?:from|at|returned by) (?:the )?(?:upstream|apns|apple|(?:web )?push service|third[- ]party)\b|\buplink\b.{0,30}\b40[137]\b|\bupstream[ _](?:(?:auth\w* )?(?:failure|failed)|refus\w+|unauthori[sz]ed)\b|\bresponse indicates failure,? status=(?:40[013])\b`},
		{"cookie-not-sent", true, "cookie", `\b(?:browser|request) (?:does not|doesn't|did not|didn't) (?:contain|have|send|include)\b.{0,24}\bcookies?\b|\bcookies? (?:are|is|seems? to be|may be|must be) (?:disabled|blocked|enabled|turned o\w+)\b|\benable (?:your )?cookies\b`},
		{"wrong-audience", true, "aud resource service", `\bservice not (?:enabled|found) (?:with)?in (?:the )?domain\b|\brequested resource (?:is )?(?:invalid|not (?:allowed|registered|supported))\b|\bresource (?:indicator|parameter)\b.{0,30}\b(?:invalid|not|match|mismatch|unknown)\b|["']aud["'] claim\b.{0,24}(?:match|value|valid)|\bin ["']aud["']|\bcontain resource id\b|\btoken resource\b.{0,60}\bis not\b|\bdid not match the ["']?aud\b`},
		{"unknown-signing-key", true, "pem keys key validator verifier", `\b(?:find an?|no) (?:appropriate|suitable|matching) (?:signature )?(?:validator|verifier)\b|\bno (?:pem|keys?) (?:have been |was |were )?found\b|\bkeys tried\b|\binvalid (?:jwt )?key id\b`},
		{"outage-as-refusal", true, "failed unable connected request could timed", `\berror when sending request to retrieve\b|\b(?:read|connect|connection) timed out\b|\b(?:failed to|unable to|could not|couldn't) (?:load|fetch|retrieve|download|get|discover) (?:\w+ ){0,3}(?:key set|jwks?(?: set)?|certificates?|keys|metadata|endpoints|openid)\b|\bunable to fetch\b.{0,40}\bremote\b|\bno connected (?:db|database)\b`},
		{"revoked", true, "password stamp", `\bpassword (?:has been|was) changed\b|\b(?:since|after|when) (?:i |we |he |she |they |the user )?chang(?:ed|ing) (?:\w+ )?password\b|\bsecurity stamp\b`},
		{"session-ended", false, "session cookie ticket kicked key", `\blog-?in (?:session|cookie)\b.{0,20}\b(?:expired|invalid)|\binvalid(?:/expired)? (?:login )?(?:\w+ )?(?:ticket|cookie)\b|\bkicked (?:out|off)\b|被顶下线|\bcookied session\b|\bkey ring\b`},
		{"account-locked", true, "attempt fail banned temporarily wrong", `\b(?:lock|disabl|block|bann)\w*\b.{0,50}\b(?:failed|unsuccessful|recurrent|repeated|consecutive) (?:log-?in|sign-?in|auth\w*|password)|\bbanned until\b|\btemporarily (?:been )?(?:blocked|banned|locked)\b|` +
			`\bwrong password\b.{0,20}\btoo many times\b`},
		{"account-not-active", false, "enable activate premium upgrade subscribe plan used verified status", `\b(?:enable|activate) (?:billing|the api|this api)\b|\bplease (?:enable|activate|purchase|subscribe to) \w+(?: \w+)? (?:through|in|via|from|on|at) (?:the|your) (?:\w+ )?(?:dashboard|console|account|portal)\b|\bpremium (?:endpoint|plan|feature|subscription)s?\b|\b(?:upgrade your|upgrade to|subscribe to|not subscribed)\b|\bplan and billing\b|` +
			`\bhas not been used in project\b|\brequires a verified\b|\b(?:user|account)(?:'?s)? current (?:status|state)\b`},
		{"wrong-place", false, "belongs environment region credentials url cent", `\bdoes not match the \w+ this (?:api )?(?:key|token) belongs to\b|\b(?:in|for) this (?:api )?environment\b|\bplease use this region\b|\b(?:use of|with|using) (?:live|test|production|sandbox|demo) (?:account |mode |api )?(?:credentials|keys?|tokens?)\b|` +
			`\bchange your (?:root|base) url\b|\bwrong data ?cent`},
		{"expired", true, "long age time", `\bissued too long ago\b|\bmax(?:imum)? age exceeded\b|\bnot valid at the current time\b`},
		{"none", true, "anonymous unregistered", `\bunregistered callers?\b|\banonymous (?:caller|user|token|access|request)s?\b.{0,40}\b(?:not|lacks?|denied|cannot)\b|\buser[= ]["<]{0,2}(?:system:)?anonymous\b`},
		{"required-field-missing", false, "header null must", `\bheader (?:x|[a-z]{2,8})-[\w-]+ (?:cannot|must not|may not) be (?:empty|null)|\bcannot be null or empty\b|\b(?:x-[\w-]+|user|tenant|namespace) must be (?:sent|set|given)\b`},
		{"insecure-transport", false, "plain http insecure only", `\bplain ?-?(?:text)?(?: http)? (?:traffic|request|connection|auth\w*|login)\b|\bhttp request (?:was sent )?to an? https\b|` +
			`\binsecure (?:url|connection|transport|channel|authentication)\b|\bonly (?:over|via|through) (?:https|ssl|tls)\b`},
		{"identity-unknown-here", true, "sign regist provision mapped corresponding matching role", `\b(?:sign-?up|auto[- ]?(?:regist\w+|provision\w*|creat\w+)|self[- ]registration|registration)\b.{0,24}\b(?:disabled|not (?:allowed|enabled|open|permitted))|` +
			`\b(?:not|isn't) mapped\b|\bno (?:corresponding|matching) (?:publisher|user|account|identity|mapping)\b|\brole ["'\\]*[\w.-]+["'\\]* does not exist\b`},
		{"method-retired", false, "login log-in sign-in signin sso flow auth", `\b(?:password|local|username|api[ -]key)[ -](?:sign-?in|log-?in|auth\w*|flow)s?\b.{0,20}\b(?:disabled|not (?:enabled|available))\b|\b(?:local|password)-log-?in-disabled\b`},
		{"second-factor-owed", false, "fresh recent re-auth reauth verification factor elevated confirmation", `\bfresh (?:token|log-?in|authentication|session)\b|\brequires? (?:a )?recent\b|\brecent (?:log-?in|sign-?in|authentication)\b|` +
			`\bre-?authenticat(?:e|ion)\b.{0,24}\b(?:required|needed|necessary)\b|\brequires? re-?authentication\b|\b(?:enter|provide|requires?|missing|invalid|wrong)\b.{0,16}\bverification code\b|` +
			`\b(?:more|additional) factors?\b|\belevated (?:permission|session|access)\b|\bpassword confirmation\b`},
		{"insufficient-scope", false, "permission key token scope accessible", `\b(?:missing|required?|requires?|lacks?|needs?|without)\b.{0,24}\b(?:permissions?|rights?|abilit\w+)\b:? ?["'` + "`" + `(\[]?[a-z_]+[:.][a-z_*]+\b|` +
			`\b(?:key|token|credentials?)\b.{0,20}\b(?:is |are |has |only )?read[- _]only\b|\bread[- _]only (?:api |access )?(?:key|token)\b|\bout[ _]of[ _]scope\b|\bmissing[ _](?:oauth[ _])?scopes?\b|` +
			`\b(?:api key|oauth token|access token|app) (?:is not|isn't|cannot|can not|can't) (?:authorized|allowed|permitted|configured)?(?: ?to| with)? ?(?:use|perform|access|call|do)\b|\bapi key is restricted to\b|\bnot allowed with this (?:api )?(?:key|token)\b|` +
			`\bmore permissions required\b|\brequires (?:one|any|all) of\b.{0,8}[A-Za-z]+[:.][A-Za-z]|\bnot configured with the appropriate (?:\w+ ){0,2}permissions\b`},
		{"wrong-credential-kind", false, "type refresh key token delegated bot account", `\b(?:not|n't) (?:authori[sz]ed|allowed|available|supported|permitted|accessible) (?:for|to|by|with|using) (?:an? )?(?:bots?|service accounts?|api (?:keys?|tokens?)|personal (?:access )?tokens?|(?:app|guest|oauth|installation) (?:access )?tokens?)\b|\b(?:different|wrong|another|other) (?:token |key |credential )?type\b|\bonly non-refresh\b|\bnot an? (?:user|bot|service|admin|secret|public|server) (?:api )?(?:key|token)\b|` +
			`\bmust be made with an? \w+ (?:key|token)\b|\bdelegated (?:auth\w*|permission|access)|\b(?:key|token) expected\b|\bwith legacy (?:api )?(?:keys?|tokens?)\b`},
		{"not-permitted", false, "group org team role require private owner contract subscription", `\bprivate resource (?:access|creation)\b|\breference to the owner\b|\b(?:not|doesn't|does not)(?: appear)? (?:in|a member of|member of|belong to|have the right)\b.{0,24}\b(?:groups?|orgs?|organi[sz]ations?|teams?|roles?)\b|` +
			`\bdoes not meet 'require'ments\b|\bno (?:active |valid |approved )?(?:contract|subscription) for (?:this|the|your)\b|\bpermissions violation\b|\bdenied by default\b`},
		{"malformed-credentials", false, "padding encoding segment json claims jws header format", `\b(?:invalid|incorrect|wrong|bad|illegal) (?:\w+ ){0,2}(?:padding|encoding|segments?(?: length)?)\b|` +
			`\b(?:jws|jwt|token|claims set|payload)\b.{0,30}\b(?:(?:in|not (?:a )?)valid json|json object|header is invalid)|\bpars\w+ claims\b|\bclaims? pars\w+ failed\b|\bformat of the (?:token|key|header) is (?:invalid|incorrect)\b|\binvalid claims encoding\b|` +
			`\b(?:decoding|read|parse)\w*\b.{0,10}\bjson (?:value|token)\b|\bwhile decoding from json\b`},
		{"claim-missing", true, "claim must expiration", `\bmust contain (?:an? |the )?["']?(?:kid|exp|iat|sub|iss|aud|jti)\b|\b(?:in|of) (?:the |your )?(?:access )?(?:token|jwt) must (?:be|have)\b|` +
			`\bclaim (?:has|had) (?:the )?value\b|\bexpiration (?:time |claim )?(?:is )?required\b`},
		{"edge-refused", true, "waf firewall mod filter robot bot rejected support categor guru", `\bwaf\b|\bweb application firewall\b|\bmod_?security\b|\brequest filtering\b|\byour support id\b|\bcontent categor|` +
			`\bnot a (?:ro)?bot\b|\brequested url was rejected\b|\bguru meditation\b|\bcontent_filter`},
		{"none", true, "login locate determine resolve load need ticket anonymous signed authenticated api authed", `\bplease run ["'` + "`" + `]?[\w ]{1,12}login\b|\b(?:could not|unable to|cannot) (?:automatically )?(?:determine|resolve|locate) (?:the )?(?:credentials|authentication method)\b|\bcredentials could not be loaded\b|\bneed auth\b|\bnot authed\b|\b(?:not|n't) (?:support|available for) anonymous\b|\brequires an? (?:authenticated|signed[- ]in|logged[- ]in) user\b|\bonly signed[- ]in users?\b|\bmust use an api key\b`},
		{"outage-as-refusal", false, "contact available health initiali maintenance retriev fetch accessing calling upstream introspection handshake problem bind", `\b(?:server|service|directory|kdc|index)\b.{0,24}\b(?:cannot be contacted|is not available|is unavailable|is not healthy|not initiali[sz]ed)\b|\b(?:could not|couldn't|cannot|can't|unable to) (?:contact|bind to|retrieve remote)\b|\bmaintenance mode\b|\bupstream timed out\b|\bno live upstreams\b|\bduring the introspection call\b|\bssl handshake failed\b|\berror while (?:fetching|accessing|contacting|calling)\b|\bdue to a system problem\b`},
		{"edge-refused", true, "secure human filter firewall unsafe incapsula anubis sucuri zscaler limited blocked", `\bsite connection is secure\b|\bhuman verification\b|\bweb (?:filter violation|page blocked)\b|\bunsafe operation\b|\b(?:incapsula|anubis|sucuri|zscaler)\b|\bhttp filter\b|\blimited by the site\b`},
		{"network-not-allowed", true, "ip allowlist autonomous pg_hba local 白名单 网段", `\b(?:your|client|source|this) ip(?: address)?\b.{0,30}\b(?:not (?:on|in|allowed|authori[sz]ed)|blocked|banned|denied|restricted)\b|\brestricted to an allowlist\b|\bautonomous system number\b|\btrusted ips\b|\bpg_hba\.conf\b|\buser is local only\b|不在白名单|网段`},
		{"clock-wrong", false, "time early current clock future old skew", `\breasonable timeframe\b|\bissue time after\b|\bearly by\b|\bnot yet current\b|\bcheck (?:the )?system clock\b|\brequest (?:is )?too old\b|\brequest (?:is )?in the future\b`},
		{"claim-missing", false, "claim mandatory", `\bclaim (?:value )?mismatch\b|\bdid not contain the mandatory\b|\bexpected \w+ claim\b`},
		{"wrong-place", false, "mode region domain authoritative belongs deployment key account", `\bonly be used with (?:live|test) ?mode\b|\buse an? (?:live|test) (?:api )?key\b|\b(?:valid|correct) region\b|\b(?:domain|deployment|tenant|subdomain) not found\b|\b(?:unknown|untrusted) domain\b|\bnon-authoritative server\b|\bbelongs to (?:another|a different|the)\b`},
		{"session-ended", false, "inactiv session login 下线 state", `\bsession inactivity\b|\bmaximum session (?:duration|lifetime)\b|\btook too long to log ?in\b|\btime allowed for the login\b|踢下线|\b(?:oauth|saml|flow|relay) state (?:not found|already|is invalid|invalid)\b|\bunable to (?:refresh|decrypt|unprotect) (?:the )?(?:session|message)\b`},
		{"method-retired", false, "stopped disabled enabled legacy", `\brecently stopped supporting\b|\b(?:provider|phone|password|anonymous|sso|saml|oauth|device flow|logins?|password access|xml-rpc services) (?:provider |logins? )?(?:is |are )?disabled\b|\bnot enabled for (?:this|the) (?:client|application)\b|\blegacy authentication\b`},
		{"organisation-rule", false, "consent install restrict saml default criteria", `\brequires? user consent\b|\bconsent denied\b|\bapp not installed\b|\bapp access restrictions\b|\bsaml sso\b|\bsecurity defaults\b|\bcriteria to be authenticated\b`},
		{"insufficient-scope", false, "api token permission intents write", `\b(?:api key|access token|token) (?:does not|doesn't|did not) (?:have|grant|permit|allow)\b|\bscope permission\b|\b(?:read|write) permissions? (?:is |are )?(?:missing|required|needed)\b|\bprivileged intents\b`},
		{"wrong-credential-kind", false, "token type website", `\btoken is not an access token\b|\bnot of the expected type\b|\bbut (?:was given|got) an? (?:\w+ )?(?:custom )?token\b|\bdoes not support authentication token\b|\bonly (?:refresh|access) tokens are\b`},
		{"expired", false, "exp lifetime late certificate", `\b["']?exp["']? (?:validation failure|not in future)\b|\blifetime validation failed\b|\btoken used too late\b|\bcertificate ?expired\b`},
		{"account-not-active", false, "feature paid upgrade billing activat verified terms pending plan credits available", `\bfeature not (?:enabled|available|activated)\b|\bpaid (?:plans?|teams?|only)\b|\bupgrade required\b|\bbilling (?:error|not active|is not)\b|\bnot (?:been )?activated\b|\bverified e-?mail\b|\bterms of service required\b|\bpending (?:deletion|verification)\b|\bonly available (?:for|on|to) (?:paid|premium|commercial|enterprise)\b|\b(?:free|commercial) plans?\b|\brun out of (?:credits|searches|quota)\b`},
		{"malformed-credentials", false, "signature signedheaders header payload exactly short base cookie", `\bcould not find (?:signature|signedheaders)\b|\binvalid (?:header value|payload string|content sha256)\b|\bmust have exactly \d\b|\bfield to+ short\b|\bvalid base ?-?64\b|\bheaders? (?:or cookie )?(?:is )?too (?:long|large)\b`},
		{"not-permitted", false, "access admin owner manager member superuser unauthori denied branch archived read row-level perform", `\b(?:does not|doesn't|don't|do not) have access\b|\b(?:must|should|need(?:s)? to) be (?:an? |the )?(?:\w+ ){0,2}(?:admin\w*|owner|manager|member|superuser|moderator)\b|\bonly (?:\w+ )?(?:admin\w*|superusers?|owners?|managers?|members?) (?:can|may|is|are)\b|\bunauthori[sz]ed to (?:access|create|find|list|delete|update|perform|read|write|push|pull)\b|\bprotected branch\b|\bis archived\b|\barchived so\b|\bviolates (?:row-level|podsecurity)\b|\bmay not perform\b|\bnot an? (?:admin|owner|member)\b|\bnot (?:admin|owner)\b|\binsufficient access\b|\bcannot (?:impersonate|masquerade)\b|\b(?:no|without) write access\b`},
		{"rate-limited", false, "abuse wait again limiting throttl", `\babuse detection\b|\bwait (?:for )?(?:a few|an?|some|\d+) (?:seconds?|minutes?|hours?|while|moment)\b|` +
			`\b(?:try|retry) again (?:later|in (?:a few |an? |\d+ )?(?:seconds?|minutes?|hours?))\b|\blimiting (?:requests|connections)\b|\bthrottl(?:ed|ing)\b`},
	}
	var out []form
	for _, f := range list {
		out = append(out, form{f.topic, f.always, f.needs, regexp.MustCompile(`(?i)` + f.re)})
	}
	return out
}()

// camelEdge matches the edge between two words of an identifier.
var camelEdge = regexp.MustCompile(`([a-z])([A-Z])`)

// formOf returns the first form that a text has.
func formOf(text string) (topic string, always bool) {
	if !strings.Contains(text, " ") { // an identifier: "FEATURE_NOT_ENABLED", "featureNotEnabled"
		text = strings.ReplaceAll(camelEdge.ReplaceAllString(text, "$1 $2"), "_", " ")
	}
	lower := strings.ToLower(text)
	for _, f := range forms {
		for word := range strings.FieldsSeq(f.needs) {
			if strings.Contains(lower, word) {
				if f.re.MatchString(text) {
					return f.topic, f.always
				}
				break
			}
		}
	}
	return "", false
}
