import org.springframework.beans.factory.annotation.Value;
import org.springframework.boot.SpringApplication;
import org.springframework.boot.SpringBootConfiguration;
import org.springframework.boot.autoconfigure.EnableAutoConfiguration;
import org.springframework.context.annotation.Bean;
import org.springframework.security.config.Customizer;
import org.springframework.security.config.annotation.web.builders.HttpSecurity;
import org.springframework.security.core.annotation.AuthenticationPrincipal;
import org.springframework.security.oauth2.jose.jws.SignatureAlgorithm;
import org.springframework.security.oauth2.jwt.Jwt;
import org.springframework.security.oauth2.jwt.JwtDecoder;
import org.springframework.security.oauth2.jwt.JwtValidators;
import org.springframework.security.oauth2.jwt.NimbusJwtDecoder;
import org.springframework.security.web.SecurityFilterChain;
import org.springframework.web.bind.annotation.GetMapping;
import org.springframework.web.bind.annotation.RestController;

/**
 * An API guarded by Spring Security with the access tokens of an issuer, by the rules of RFC 9068.
 * Arguments: --server.address, --server.port, --issuer, --audience, --client. GET /x requires the scope
 * profile, /other a scope that no token has.
 */
@SpringBootConfiguration
@EnableAutoConfiguration
@RestController
public class Resource {
	public static void main(String[] args) {
		SpringApplication.run(Resource.class, args);
	}

	@Bean
	SecurityFilterChain api(HttpSecurity http) throws Exception {
		return http
			.authorizeHttpRequests(r -> r
				.requestMatchers("/other").hasAuthority("SCOPE_other")
				.anyRequest().hasAuthority("SCOPE_profile"))
			.oauth2ResourceServer(o -> o.jwt(Customizer.withDefaults()))
			.build();
	}

	@Bean
	JwtDecoder decoder(@Value("${issuer}") String issuer, @Value("${audience}") String audience,
			@Value("${client}") String client) {
		NimbusJwtDecoder decoder = NimbusJwtDecoder.withJwkSetUri(issuer + "/.well-known/jwks.json")
			.jwsAlgorithm(SignatureAlgorithm.ES256)
			.validateType(false) // the validator checks it
			.build();
		decoder.setJwtValidator(JwtValidators.createAtJwtValidator()
			.issuer(issuer)
			.audience(audience)
			.clientId(client)
			.build());
		return decoder;
	}

	@GetMapping({ "/x", "/other" })
	String hello(@AuthenticationPrincipal Jwt token) {
		return "hello, " + token.getSubject();
	}
}
